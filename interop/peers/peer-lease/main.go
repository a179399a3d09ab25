// Command peer-lease contends for a Lease with client-go's own elector, configured as Kubernetes
// components do (15 s / 10 s / 2 s) or as leaselock does (60 s / 15 s / 5 s, release on cancel).
package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"tenure.dev/interop/peers/peer"
)

func main() {
	mode := flag.String("mode", "client-go", "whose timing: client-go or leaselock; --ttl has no effect")
	release := flag.Bool("release", true, "release on cancel; client-go's own default is false")
	o, ctx := peer.Parse()
	client, err := kubernetes.NewForConfig(o.Config)
	peer.Check(err)
	lease, renew, retry := 15*time.Second, 10*time.Second, 2*time.Second
	if *mode == "leaselock" {
		lease, renew, retry = 60*time.Second, 15*time.Second, 5*time.Second
	}
	leader := ""
	for round := 0; o.Next(ctx, round); round++ {
		term, end := context.WithCancel(ctx)
		ended := make(chan struct{})
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name},
				Client:     client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: o.ID},
			},
			LeaseDuration:   lease,
			RenewDeadline:   renew,
			RetryPeriod:     retry,
			ReleaseOnCancel: *release,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(leading context.Context) {
					defer close(ended)
					fmt.Println("held")
					// The elector cancels `leading` only after SIGTERM or a loss.
					o.Work(leading)
					if leading.Err() != nil && ctx.Err() == nil {
						fmt.Println("lost another holder, or no renewal in time")
						return
					}
					end()
				},
				OnStoppedLeading: func() {},
				OnNewLeader: func(id string) {
					if id != leader {
						leader = id
						fmt.Println("leader", id)
					}
				},
			},
		})
		peer.Check(err)
		// It has released when it returns, if it could: a renewal that was under way can conflict.
		elector.Run(term)
		switch cancelled := term.Err() != nil; {
		case !cancelled:
			<-ended
		case elector.IsLeader():
			fmt.Println("kept")
		case led(ended):
			fmt.Println("released")
		}
		end()
	}
}

// led tells whether the round led at all: after SIGTERM while it waited nothing was held.
func led(ended chan struct{}) bool {
	select {
	case <-ended:
		return true
	case <-time.After(time.Second):
		return false
	}
}
