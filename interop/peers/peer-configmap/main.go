// Command peer-configmap contends in lockheed's format: a ConfigMap whose state is JSON, each change
// of it in two writes, a reservation and the state.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"tenure.dev/interop/peers/peer"
)

const reservedBy, reservedExpires = "reserved/by", "reserved/expires"

type state struct {
	Name     string           `json:"name"`
	LockType string           `json:"lockType"`
	Leases   map[string]lease `json:"leases"`
	Tags     []string         `json:"tags,omitempty"`
}

type lease struct {
	InstanceID string    `json:"instanceID"`
	Expires    time.Time `json:"expires"`
}

type lock struct {
	maps     typed.ConfigMapInterface
	name, id string
	ttl      time.Duration
}

func main() {
	o, ctx := peer.Parse()
	client, err := kubernetes.NewForConfig(o.Config)
	peer.Check(err)
	o.Run(ctx, &lock{client.CoreV1().ConfigMaps(o.Namespace), o.Name, o.ID, o.TTL})
}

// create makes the ConfigMap with a state that nobody holds.
func (l *lock) create(ctx context.Context) error {
	text, err := json.Marshal(state{Name: l.name})
	peer.Check(err)
	_, err = l.maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "lockheed-" + l.name, Labels: map[string]string{"lockheed/lock": ""}},
		Data:       map[string]string{"lock": string(text)},
	}, metav1.CreateOptions{})
	return err
}

// change decides on the state, reserves the ConfigMap, and writes the new state without the
// reservation. Each write is refused if anything changed since the read.
func (l *lock) change(ctx context.Context, decide func(*state) error) error {
	object, err := l.maps.Get(ctx, "lockheed-"+l.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if by, reserved := object.Annotations[reservedBy]; reserved {
		until, err := time.Parse(time.RFC3339, object.Annotations[reservedExpires])
		if err != nil {
			return err
		}
		if time.Now().Before(until) {
			return fmt.Errorf("ConfigMap %s reserved by %s", object.Name, by)
		}
	}
	s := state{}
	if err := json.Unmarshal([]byte(object.Data["lock"]), &s); err != nil {
		return err
	}
	if err := decide(&s); err != nil {
		return err
	}
	if object.Annotations == nil {
		object.Annotations = map[string]string{}
	}
	object.Annotations[reservedBy] = l.id
	object.Annotations[reservedExpires] = time.Now().Add(30 * time.Second).Format(time.RFC3339)
	if object, err = l.maps.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
		return err
	}
	delete(object.Annotations, reservedBy)
	delete(object.Annotations, reservedExpires)
	text, err := json.Marshal(s)
	peer.Check(err)
	object.Data["lock"] = string(text)
	_, err = l.maps.Update(ctx, object, metav1.UpdateOptions{})
	return err
}

func (l *lock) mine() map[string]lease {
	return map[string]lease{l.id: {l.id, time.Now().Add(l.ttl)}}
}

func (l *lock) Acquire(ctx context.Context) error {
	err := l.change(ctx, func(s *state) error {
		if s.LockType != "" && s.LockType != "mutex" {
			return fmt.Errorf("Non-mutex locks not implemented yet")
		}
		if len(s.Leases) > 1 {
			return fmt.Errorf("Invalid number of leases for mutex lock: %d", len(s.Leases))
		}
		for id, held := range s.Leases {
			if id != l.id && held.Expires.After(time.Now()) {
				return fmt.Errorf("Mutex lock is already held by %s", id)
			}
		}
		s.LockType, s.Leases = "mutex", l.mine()
		return nil
	})
	if apierrors.IsNotFound(err) {
		if err := l.create(ctx); err != nil {
			return err
		}
		return l.Acquire(ctx)
	}
	return err
}

func (l *lock) Renew(ctx context.Context) error {
	return peer.OnConflict(func() error {
		return l.change(ctx, func(s *state) error {
			held, there := s.Leases[l.id]
			if !there {
				return fmt.Errorf("No lease to renew for %s", l.id)
			}
			if !held.Expires.After(time.Now()) {
				return fmt.Errorf("Lease on lock %s for %s already expired", l.name, l.id)
			}
			s.Leases[l.id] = l.mine()[l.id]
			return nil
		})
	})
}

func (l *lock) Release(ctx context.Context) error {
	return peer.OnConflict(func() error {
		return l.change(ctx, func(s *state) error { delete(s.Leases, l.id); return nil })
	})
}
