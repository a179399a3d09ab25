// Command peer-janus contends in janus' format: a Lease named after a resource, held by a
// transaction, deleted when it is released. Its time is the wall clock's.
package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	coordination "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typed "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"tenure.dev/interop/peers/peer"
)

const managedBy, transaction = "app.kubernetes.io/managed-by", "janus.io/transaction"

type lock struct {
	leases  typed.LeaseInterface
	lease   string
	id      string
	seconds int32
}

func main() {
	kind := flag.String("kind", "ConfigMap", "kind of the resource that --name names")
	o, ctx := peer.Parse()
	client, err := kubernetes.NewForConfig(o.Config)
	peer.Check(err)
	name := strings.ToLower(fmt.Sprintf("janus-lock-%s-%s-%s", o.Namespace, *kind, o.Name))
	leases := client.CoordinationV1().Leases(o.Namespace)
	o.Run(ctx, &lock{leases, name, o.ID, int32(o.TTL / time.Second)})
}

func holder(lease *coordination.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

func expired(spec *coordination.LeaseSpec) bool {
	if spec.RenewTime == nil || spec.LeaseDurationSeconds == nil {
		return true
	}
	length := time.Duration(*spec.LeaseDurationSeconds) * time.Second
	return spec.RenewTime.Add(length).Before(time.Now())
}

// held writes the holder's fields; acquireTime only with `now` as the beginning of a hold.
func (l *lock) held(spec *coordination.LeaseSpec, begins bool) {
	now := metav1.NowMicro()
	spec.HolderIdentity, spec.LeaseDurationSeconds, spec.RenewTime = &l.id, &l.seconds, &now
	if begins {
		spec.AcquireTime = &now
	}
}

func (l *lock) locked(lease *coordination.Lease) error {
	return fmt.Errorf("resource is locked by %q (lease %s)", holder(lease), l.lease)
}

func (l *lock) operation(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s lease %s: %w", what, l.lease, err)
}

func (l *lock) Acquire(ctx context.Context) error {
	lease, err := l.leases.Get(ctx, l.lease, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		lease = &coordination.Lease{ObjectMeta: metav1.ObjectMeta{
			Name: l.lease, Labels: map[string]string{managedBy: "janus", transaction: l.id},
		}}
		l.held(&lease.Spec, true)
		_, err = l.leases.Create(ctx, lease, metav1.CreateOptions{})
		return l.operation("creating", err)
	}
	if err != nil {
		return l.operation("getting", err)
	}
	what := "renewing"
	if holder(lease) != l.id {
		if !expired(&lease.Spec) {
			return l.locked(lease)
		}
		what = "taking over expired"
		// As in janus, a Lease without any label ends the program here.
		lease.Labels[transaction] = l.id
	}
	l.held(&lease.Spec, what != "renewing")
	_, err = l.leases.Update(ctx, lease, metav1.UpdateOptions{})
	return l.operation(what, err)
}

func (l *lock) Renew(ctx context.Context) error {
	lease, err := l.leases.Get(ctx, l.lease, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("lock lease %s has expired", l.lease)
	case err != nil:
		return l.operation("getting", err)
	case holder(lease) != l.id:
		return l.locked(lease)
	case expired(&lease.Spec):
		return fmt.Errorf("lock lease %s has expired", l.lease)
	}
	l.held(&lease.Spec, false)
	_, err = l.leases.Update(ctx, lease, metav1.UpdateOptions{})
	return l.operation("renewing", err)
}

func (l *lock) Release(ctx context.Context) error {
	lease, err := l.leases.Get(ctx, l.lease, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && holder(lease) != "" && holder(lease) != l.id {
		return nil
	}
	if err != nil {
		return l.operation("getting", err)
	}
	// Without a precondition, as janus does it.
	err = l.leases.Delete(ctx, l.lease, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return l.operation("deleting", err)
}
