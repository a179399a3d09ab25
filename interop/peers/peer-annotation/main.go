// Command peer-annotation contends in kubelock's format: an annotation on an object that exists,
// written with the whole object. Its time is the wall clock's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"tenure.dev/interop/peers/peer"
)

type value struct {
	Owner     string        `json:"owner"`
	CreatedAt time.Time     `json:"createdAt"`
	TTL       time.Duration `json:"ttl"`
}

func (v *value) expired() bool { return v.CreatedAt.Add(v.TTL).Before(time.Now()) }

type lock struct {
	objects     dynamic.ResourceInterface
	object, key string
	owner       string
	ttl         time.Duration
}

// Of the four kinds of kubelock the one for a missing configuration has no place here.
var (
	errAlreadyExists = errors.New("already exists")
	errOwnerMismatch = errors.New("owner mismatch")
	errNotFound      = errors.New("not found")
)

func main() {
	var of schema.GroupVersionResource
	flag.StringVar(&of.Group, "group", "", "API group of the object; empty: core")
	flag.StringVar(&of.Version, "version", "v1", "API version of the object")
	flag.StringVar(&of.Resource, "resource", "configmaps", "resource of the object")
	object := flag.String("object", "", "name of the object")
	cluster := flag.Bool("cluster", false, "the object has no namespace")
	o, ctx := peer.Parse()
	client, err := dynamic.NewForConfig(o.Config)
	peer.Check(err)
	var objects dynamic.ResourceInterface = client.Resource(of).Namespace(o.Namespace)
	if *cluster {
		objects = client.Resource(of)
	}
	o.Run(ctx, &lock{objects, *object, "kubelock.giantswarm.io/" + o.Name, o.ID, o.TTL})
}

// read returns the object and the lock on it, nil if there is none or it has expired.
func (l *lock) read(ctx context.Context) (*unstructured.Unstructured, *value, error) {
	object, err := l.objects.Get(ctx, l.object, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	text, there := object.GetAnnotations()[l.key]
	if !there {
		return object, nil, nil
	}
	v := &value{}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return nil, nil, err
	}
	if v.expired() {
		return object, nil, nil
	}
	return object, v, nil
}

// write sets or removes the annotation; the server refuses it if the object changed since the read.
func (l *lock) write(ctx context.Context, object *unstructured.Unstructured, v *value) error {
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	delete(annotations, l.key)
	if v != nil {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		annotations[l.key] = string(text)
	}
	object.SetAnnotations(annotations)
	_, err := l.objects.Update(ctx, object, metav1.UpdateOptions{})
	return err
}

func (l *lock) mine() *value { return &value{l.owner, time.Now().UTC(), l.ttl} }

func (l *lock) Acquire(ctx context.Context) error {
	object, held, err := l.read(ctx)
	switch {
	case err != nil:
		return err
	case held != nil && held.Owner == l.owner:
		return errAlreadyExists
	case held != nil:
		return errOwnerMismatch
	}
	return l.write(ctx, object, l.mine())
}

// Renew rewrites createdAt. kubelock has no renewal, but accepts this one.
func (l *lock) Renew(ctx context.Context) error { return l.own(ctx, l.mine()) }

func (l *lock) Release(ctx context.Context) error { return l.own(ctx, nil) }

// own writes over the own lock, again if something else on the object changed meanwhile.
func (l *lock) own(ctx context.Context, v *value) error {
	return peer.OnConflict(func() error {
		object, held, err := l.read(ctx)
		switch {
		case err != nil:
			return err
		case held == nil:
			return errNotFound
		case held.Owner != l.owner:
			return errOwnerMismatch
		}
		return l.write(ctx, object, v)
	})
}
