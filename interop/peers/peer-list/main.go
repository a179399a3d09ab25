// Command peer-list lists the locks of a namespace as each format's own programs find them, and in
// lockheed's format those of which a condition is true. A line per lock, by name: NAME, "free", "held"
// or "expired" by the wall clock, and the holder that the record names.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"tenure.dev/interop/peers/peer"
)

type entry struct {
	name, holder string
	alive        bool
	tags         []string
}

func (e entry) state() string {
	switch {
	case e.holder == "":
		return "free"
	case e.alive:
		return "held"
	}
	return "expired"
}

// condition is lockheed's: a field, or an "and" or "or" of others.
type condition struct {
	Operation  string      `json:"operation"`
	Field      string      `json:"field"`
	Value      any         `json:"value"`
	Conditions []condition `json:"conditions"`
}

func (c condition) check(e entry) (bool, error) {
	switch {
	case c.Operation == "and" || c.Operation == "or":
		result := c.Operation == "and"
		// All are looked at, and the first error ends it.
		for _, part := range c.Conditions {
			is, err := part.check(e)
			if err != nil {
				return false, err
			}
			if is != (c.Operation == "and") {
				result = is
			}
		}
		return result, nil
	case c.Field == "tags" && c.Operation == "contains":
		tag, _ := c.Value.(string)
		return slices.Contains(e.tags, tag), nil
	case c.Field == "acquired" && c.Operation == "equals":
		return e.alive == c.Value, nil
	}
	return false, fmt.Errorf("Unsupported field operation %s or field %s", c.Operation, c.Field)
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "file with the server and the credentials")
	namespace := flag.String("namespace", "default", "namespace of the locks")
	format := flag.String("format", "lease", "lease, annotation, configmap or janus")
	object := flag.String("object", "", "the ConfigMap that annotations stand on")
	where := flag.String("condition", `{"operation": "and"}`, "lockheed's condition as JSON")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	peer.Check(err)
	client, err := kubernetes.NewForConfig(config)
	peer.Check(err)
	var filter condition
	peer.Check(json.Unmarshal([]byte(*where), &filter))
	var found []entry
	switch *format {
	case "annotation":
		found = annotations(client, *namespace, *object)
	case "configmap":
		found = configMaps(client, *namespace)
	case "janus":
		found = leases(client, *namespace, "app.kubernetes.io/managed-by=janus")
	default:
		found = leases(client, *namespace, "")
	}
	sort.Slice(found, func(i, j int) bool { return found[i].name < found[j].name })
	for _, e := range found {
		is, err := filter.check(e)
		peer.Check(err)
		if is {
			fmt.Println(e.name, e.state(), e.holder)
		}
	}
}

func leases(client kubernetes.Interface, namespace, selector string) (found []entry) {
	options := metav1.ListOptions{LabelSelector: selector}
	list, err := client.CoordinationV1().Leases(namespace).List(context.Background(), options)
	peer.Check(err)
	for _, lease := range list.Items {
		e, spec := entry{name: lease.Name}, lease.Spec
		if spec.HolderIdentity != nil && *spec.HolderIdentity != "" {
			e.holder = *spec.HolderIdentity
			length := time.Duration(*spec.LeaseDurationSeconds) * time.Second
			e.alive = time.Now().Before(spec.RenewTime.Add(length))
		}
		found = append(found, e)
	}
	return found
}

func annotations(client kubernetes.Interface, namespace, object string) (found []entry) {
	on, err := client.CoreV1().ConfigMaps(namespace).Get(context.Background(), object, metav1.GetOptions{})
	peer.Check(err)
	for key, text := range on.Annotations {
		name, ours := strings.CutPrefix(key, "kubelock.giantswarm.io/")
		if !ours {
			continue
		}
		var value struct {
			Owner     string
			CreatedAt time.Time
			TTL       time.Duration
		}
		peer.Check(json.Unmarshal([]byte(text), &value))
		alive := time.Now().Before(value.CreatedAt.Add(value.TTL))
		found = append(found, entry{name: name, holder: value.Owner, alive: alive})
	}
	return found
}

func configMaps(client kubernetes.Interface, namespace string) (found []entry) {
	options := metav1.ListOptions{LabelSelector: "lockheed/lock"}
	list, err := client.CoreV1().ConfigMaps(namespace).List(context.Background(), options)
	peer.Check(err)
	for _, object := range list.Items {
		var state struct {
			Name   string
			Tags   []string
			Leases map[string]struct{ Expires time.Time }
		}
		peer.Check(json.Unmarshal([]byte(object.Data["lock"]), &state))
		e := entry{name: state.Name, tags: state.Tags}
		for id, lease := range state.Leases {
			e.holder, e.alive = id, lease.Expires.After(time.Now())
		}
		found = append(found, e)
	}
	return found
}
