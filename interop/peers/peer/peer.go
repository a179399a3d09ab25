// Package peer is what the peers share: flags, lines of output, and the loop that takes a lock, works
// under it and gives it back. A peer prints a line per event: "held", "refused WHY" and "leader ID"
// (once per change), "lost WHY", "released". SIGTERM and SIGINT end the work and release.
package peer

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Lock is one contender for one lock. An error of Acquire means: not now.
type Lock interface {
	Acquire(context.Context) error
	Renew(context.Context) error
	Release(context.Context) error
}

// Options are the flags of every peer.
type Options struct {
	Config              *rest.Config
	Namespace, Name, ID string
	TTL                 time.Duration
	Rounds              int
	hold                time.Duration
	counter             string
	written             int
}

// Parse reads the flags; each peer may have added its own.
func Parse() (*Options, context.Context) {
	o := &Options{}
	kubeconfig := flag.String("kubeconfig", "", "file with the server and the credentials")
	flag.StringVar(&o.Namespace, "namespace", "default", "namespace of the lock")
	flag.StringVar(&o.Name, "name", "", "name of the lock")
	flag.StringVar(&o.ID, "id", "", "identity of the holder")
	flag.DurationVar(&o.TTL, "ttl", 15*time.Second, "how long a hold lives after its last renewal")
	flag.IntVar(&o.Rounds, "rounds", 1, "how often to take the lock; 0: until SIGTERM")
	flag.DurationVar(&o.hold, "hold", 0, "how long to hold it each time; 0: until SIGTERM")
	flag.StringVar(&o.counter, "counter", "", "file with a number to raise each time: read, sleep, write;\n"+
		"the next round begins when somebody else has raised it")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	Check(err)
	o.Config = config
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	return o, ctx
}

// Work is what the lock protects. With a counter it is a lost update wherever two do it at once.
func (o *Options) Work(ctx context.Context) {
	if o.counter != "" {
		o.written = o.number() + 1
		time.Sleep(20 * time.Millisecond)
		Check(os.WriteFile(o.counter, []byte(strconv.Itoa(o.written)), 0o600))
	}
	o.sleep(ctx, o.hold)
}

// Next tells whether there is another round, and waits until it is our turn.
func (o *Options) Next(ctx context.Context, round int) bool {
	if o.Rounds > 0 && round == o.Rounds {
		return false
	}
	for o.counter != "" && round > 0 && o.number() == o.written && ctx.Err() == nil {
		// At times the other has released it by then, and at times it has not.
		time.Sleep(50 * time.Millisecond)
	}
	return ctx.Err() == nil
}

// number is what the counter says; a write that is under way is waited for.
func (o *Options) number() int {
	for {
		text, err := os.ReadFile(o.counter)
		Check(err)
		if number, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			return number
		}
	}
}

func (o *Options) sleep(ctx context.Context, length time.Duration) {
	if length == 0 {
		<-ctx.Done()
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
}

// Run takes, holds and releases the lock as often as asked for.
func (o *Options) Run(ctx context.Context, lock Lock) {
	for round := 0; o.Next(ctx, round); round++ {
		if !acquire(ctx, lock) {
			return
		}
		fmt.Println("held")
		if why := o.holdOn(ctx, lock); why != nil {
			fmt.Println("lost", why)
			continue
		}
		if err := lock.Release(context.WithoutCancel(ctx)); err != nil {
			fmt.Println("lost", err)
			continue
		}
		fmt.Println("released")
	}
}

func acquire(ctx context.Context, lock Lock) bool {
	said := ""
	for ctx.Err() == nil {
		err := lock.Acquire(ctx)
		if err == nil {
			return true
		}
		if said != err.Error() {
			said = err.Error()
			fmt.Println("refused", said)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return false
}

// holdOn renews while the work goes on; the error is why the lock was lost meanwhile.
func (o *Options) holdOn(ctx context.Context, lock Lock) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() { o.Work(working); close(done) }()
	for {
		select {
		case <-done:
			return nil
		case <-time.After(o.TTL / 3):
			if err := lock.Renew(context.WithoutCancel(ctx)); err != nil {
				stop()
				<-done
				return err
			}
		}
	}
}

// OnConflict repeats what the server refused because the object had changed since it was read.
func OnConflict(do func() error) error {
	for {
		if err := do(); !apierrors.IsConflict(err) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Check ends the peer if something failed that has nothing to do with locks.
func Check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
