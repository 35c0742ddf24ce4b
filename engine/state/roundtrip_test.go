package state_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/state"
)

// fill sets every field that v has, and panics at a type that it does not know:
// a new field is drawn, encoded and compared without anybody thinking of it.
// Docker's own types go through JSON once, which is how clients send them.
func fillObject(t *rapid.T, v reflect.Value, path string) {
	if strings.HasPrefix(v.Type().PkgPath(), "github.com/moby/") {
		fillDocker(t, v, path)
		return
	}
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(drawAddr(t, path)))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(drawAddr(t, path), 20)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillObject(t, v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillObject(t, v.Elem(), path)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, path))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fillObject(t, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			key.SetString(fmt.Sprintf("key%d", i))
			fillObject(t, value, path+".value")
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(rapid.StringN(1, 20, -1).Draw(t, path))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(cmpNot(rapid.Int64().Draw(t, path)))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + rapid.Uint64Max(1<<v.Type().Bits()-2).Draw(t, path))
	default:
		panic(path + ": no test knows how to fill a " + v.Type().String())
	}
}

func drawAddr(t *rapid.T, path string) netip.Addr {
	size := rapid.SampledFrom([]int{4, 16}).Draw(t, path+" size")
	a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, path))
	return a
}

func cmpNot(n int64) int64 {
	if n == 0 {
		return 1
	}
	return n
}

// fillDocker sets the fields of one of Docker's types as far as they are plain.
func fillDocker(t *rapid.T, v reflect.Value, path string) {
	plain(t, v, path, 6)
	data, err := json.Marshal(v.Interface())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	v.SetZero()
	if err := json.Unmarshal(data, v.Addr().Interface()); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if v.IsZero() {
		t.Fatalf("%s: nothing of a %s was filled", path, v.Type())
	}
}

func plain(t *rapid.T, v reflect.Value, path string, depth int) {
	if depth == 0 {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				plain(t, v.Field(i), path+"."+v.Type().Field(i).Name, depth-1)
			}
		}
	case reflect.Pointer:
		if strings.HasPrefix(v.Type().Elem().PkgPath(), "github.com/moby/") || v.Type().Elem().PkgPath() == "" {
			v.Set(reflect.New(v.Type().Elem()))
			plain(t, v.Elem(), path, depth-1)
		}
	case reflect.Slice:
		if k := v.Type().Elem().Kind(); k == reflect.String || k == reflect.Struct {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			plain(t, v.Index(0), path, depth-1)
		}
	case reflect.String:
		v.SetString(rapid.StringMatching(`[a-zA-Z0-9<&>é]{1,9}`).Draw(t, path))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(rapid.IntRange(1, 1<<30).Draw(t, path)))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(rapid.IntRange(1, 1<<30).Draw(t, path)))
	default:
	}
}

// unknown is a field of a number that no build has.
func unknown(t *rapid.T) []byte {
	text := rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "unknown")
	b := binary.AppendUvarint(nil, 4000<<1|1)
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// compareObjects tells nil from empty nowhere: on the wire they are one.
func compareObjects() cmp.Options {
	return cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmp.Exporter(func(reflect.Type) bool { return true })}
}

// Every field of every object is put into a store, comes out as it was, survives
// a snapshot, and a rewrite by a build that does not know all of its fields.
func TestObjectsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, n, s := new(state.Cluster), new(state.Node), new(state.Service)
		tmpl, task, net := new(state.Template), new(state.Task), new(state.Network)
		for _, o := range []any{c, n, s, tmpl, task, net} {
			v := reflect.ValueOf(o).Elem()
			fillObject(t, v, v.Type().Name())
			v.FieldByName("Unknown").SetBytes(unknown(t))
		}
		task.Status.State = rapid.SampledFrom([]state.TaskState{state.TaskNew, state.TaskRunning, state.TaskOrphaned}).Draw(t, "state")
		store := state.NewStore()
		d := store.Draft()
		d.PutCluster(c)
		d.PutNode(n)
		d.PutService(s)
		d.PutTemplate(tmpl)
		d.PutTask(task)
		d.PutNetwork(net)
		store.Apply(1, d.Changes())
		if store.Undecodable() != 0 {
			t.Fatalf("%d objects cannot be read back", store.Undecodable())
		}
		for range 2 { // what was put, then what a restored store says
			got := store.Draft()
			for _, pair := range [][2]any{
				{c, got.Cluster()},
				{n, got.Node(n.ID)},
				{s, got.Service(s.ID)},
				{tmpl, got.Template(tmpl.Service, tmpl.Version)},
				{task, got.Task(task.ID)},
				{net, got.Network(net.ID)},
			} {
				if diff := cmp.Diff(pair[0], pair[1], compareObjects()); diff != "" {
					t.Fatalf("%T: put is -, got is +:\n%s", pair[0], diff)
				}
			}
			store = restored(t, store)
		}
	})
}

func restored(t interface{ Fatal(...any) }, s *state.Store) *state.Store {
	var b bytes.Buffer
	if _, err := s.Freeze().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	r, err := state.Restore(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The zero object of every kind is one as well.
func TestZeroObjectsRoundTrip(t *testing.T) {
	store := state.NewStore()
	d := store.Draft()
	d.PutCluster(&state.Cluster{ID: "c"})
	d.PutNode(&state.Node{ID: "n"})
	d.PutService(&state.Service{ID: "s"})
	d.PutTemplate(&state.Template{Service: "s", Version: 1})
	d.PutTask(&state.Task{ID: "t"})
	d.PutNetwork(&state.Network{ID: "n"})
	store.Apply(1, d.Changes())
	if store.Undecodable() != 0 {
		t.Errorf("%d objects cannot be read back", store.Undecodable())
	}
	if diff := cmp.Diff(&state.Task{ID: "t", Meta: state.Meta{Version: 1}}, store.Draft().Task("t"), compareObjects()); diff != "" {
		t.Error(diff)
	}
}

// Random changes are applied to one store, and its hash is kept as it goes. It
// is that of a store that was handed the outcome at once, whatever came between;
// and of one restored from its snapshot, object by object the same.
func TestHashFollowsContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kinds := []state.Kind{state.KindNode, state.KindService, state.KindTemplate, state.KindTask, state.KindNetwork, state.KindSecret, 200}
		grown := state.NewStore()
		held := map[state.Key][]byte{}
		for i := range rapid.IntRange(1, 40).Draw(t, "changes") {
			key := state.Key{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), ID: rapid.SampledFrom([]string{"a", "b", "c.1", ""}).Draw(t, "id")}
			data := rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "data")
			if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
				data = nil
			}
			grown.Apply(uint64(i+1), []state.Change{{Key: key, Data: data}})
			if held[key] = data; data == nil {
				delete(held, key)
			}
		}
		rebuilt := state.NewStore()
		for key, data := range held {
			rebuilt.Apply(rebuilt.Index()+1, []state.Change{{Key: key, Data: data}})
		}
		if grown.Hash() != rebuilt.Hash() {
			t.Fatalf("grown %x, rebuilt from %v %x", grown.Hash(), held, rebuilt.Hash())
		}
		again := restored(t, grown)
		if again.Hash() != grown.Hash() || again.Index() != grown.Index() || again.Undecodable() != grown.Undecodable() {
			t.Fatalf("restored %x, want %x", again.Hash(), grown.Hash())
		}
	})
}

// An older manager rewrites a node that a newer one wrote: the newer's field, and
// an object of a kind that the older has never heard of, are as they were.
func TestNewerFieldsAndKindsSurvive(t *testing.T) {
	store := state.NewStore()
	d := store.Draft()
	d.PutNode(&state.Node{ID: "n1", Addr: "10.0.0.1"})
	change := d.Changes()[0]
	novelty := append(binary.AppendUvarint(binary.AppendUvarint(nil, 77<<1|1), 5), "later"...)
	change.Data = append(change.Data, novelty...)
	odd := state.Change{Key: state.Key{Kind: 99, ID: "x"}, Data: []byte("of a newer kind")}
	store.Apply(1, []state.Change{change, odd})

	d = store.Draft()
	n := *d.Node("n1")
	n.Addr = "10.0.0.2"
	d.PutNode(&n)
	changes := d.Changes()
	if !bytes.HasSuffix(changes[0].Data, novelty) {
		t.Errorf("the rewritten node is %q, want it to end in %q", changes[0].Data, novelty)
	}
	store.Apply(2, changes)
	if got := store.Draft().Node("n1").Addr; got != "10.0.0.2" {
		t.Errorf("the node is at %s", got)
	}
	before := restored(t, store).Hash()
	store.Apply(3, []state.Change{{Key: odd.Key}})
	if store.Hash() == before {
		t.Error("taking away an object of an unknown kind did not change the hash")
	}
}
