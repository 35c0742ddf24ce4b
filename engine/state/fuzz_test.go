package state_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swarmd/swarmd/engine/state"
)

// FuzzDecodeEntry hands bytes of any kind to the reader of log entries: an entry
// that it takes says the same once written again.
func FuzzDecodeEntry(f *testing.F) {
	entry := state.Entry{Proposal: state.ProposalID{Term: 3, Seq: 9}, Base: 41, Changes: []state.Change{
		{Key: state.Key{Kind: state.KindTask, ID: "t1"}, Data: []byte("abc")},
		{Key: state.Key{Kind: state.KindNode, ID: "n1"}},
		{Key: state.Key{Kind: 250, ID: ""}, Data: []byte{}},
	}}
	f.Add(entry.Append(nil))
	f.Add([]byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := state.DecodeEntry(b)
		if err != nil {
			return
		}
		again, err := state.DecodeEntry(e.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, again); diff != "" {
			t.Fatal(diff)
		}
		state.NewStore().Apply(1, e.Changes)
	})
}

// FuzzRestore hands bytes of any kind to the reader of snapshots, under a
// checksum that fits: what it takes is a snapshot of the same objects.
func FuzzRestore(f *testing.F) {
	s := state.NewStore()
	d := s.Draft()
	d.PutNode(&state.Node{ID: "n"})
	d.PutTask(&state.Task{ID: "t", Service: "s", Node: "n"})
	for range 2 {
		var b bytes.Buffer
		if _, err := s.Freeze().WriteTo(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes()[:b.Len()-sha256.Size])
		s.Apply(7, append(d.Changes(), state.Change{Key: state.Key{Kind: 99, ID: "x"}, Data: []byte("?")}))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := state.Restore(bytes.NewReader(body)); err == nil && len(body) < sha256.Size {
			t.Fatal("no checksum, no error")
		}
		sum := sha256.Sum256(body)
		s, err := state.Restore(io.MultiReader(bytes.NewReader(body), bytes.NewReader(sum[:])))
		if err != nil {
			return
		}
		if r := restored(t, s); r.Hash() != s.Hash() || r.Index() != s.Index() {
			t.Fatalf("%x at %d, want %x at %d", r.Hash(), r.Index(), s.Hash(), s.Index())
		}
	})
}

// FuzzObject applies bytes of any kind as an object of any kind. If they can be
// read, the object is equal to what its own encoding says.
func FuzzObject(f *testing.F) {
	store := state.NewStore()
	d := store.Draft()
	d.PutCluster(&state.Cluster{ID: "a.1", RootCert: []byte("pem"), DefaultAddrPool: []string{"10.0.0.0/8"}})
	d.PutNode(&state.Node{ID: "a.1", Addr: "10.0.0.1", Since: 5})
	d.PutService(&state.Service{ID: "a.1", Update: &state.Update{Failed: 2}})
	d.PutTemplate(&state.Template{Service: "a", Version: 1, ServiceName: "web"})
	d.PutTask(&state.Task{ID: "a.1", Service: "a", Slot: 4, Status: state.TaskStatus{ExitCode: -1}})
	d.PutTask(&state.Task{ID: "a.2", Addresses: []netip.Addr{netip.MustParseAddr("10.0.1.3"), netip.MustParseAddr("fd00::3")}, Mesh: netip.MustParseAddr("10.0.0.3")})
	d.PutNetwork(&state.Network{ID: "a.1", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24")}})
	for _, c := range d.Changes() {
		f.Add(byte(c.Key.Kind), c.Data)
	}
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		s := state.NewStore()
		key := state.Key{Kind: state.Kind(kind), ID: "a.1"}
		delta := s.Apply(1, []state.Change{{Key: key, Data: data}})
		if s.Undecodable() > 0 || data == nil {
			return
		}
		d := s.Draft()
		var want, got any
		switch key.Kind {
		case state.KindCluster:
			c := *delta.Clusters[0].After
			d.PutCluster(&c)
			want, got = &c, s.Apply(2, d.Changes()).Clusters[0].After
		case state.KindNode:
			n := *delta.Nodes[0].After
			d.PutNode(&n)
			want, got = &n, s.Apply(2, d.Changes()).Nodes[0].After
		case state.KindService:
			v := *delta.Services[0].After
			d.PutService(&v)
			want, got = &v, s.Apply(2, d.Changes()).Services[0].After
		case state.KindTemplate:
			v := *delta.Templates[0].After
			d.PutTemplate(&v)
			want, got = &v, s.Apply(2, d.Changes()).Templates[0].After
		case state.KindTask:
			v := *delta.Tasks[0].After
			d.PutTask(&v)
			want, got = &v, s.Apply(2, d.Changes()).Tasks[0].After
		case state.KindNetwork:
			v := *delta.Networks[0].After
			d.PutNetwork(&v)
			want, got = &v, s.Apply(2, d.Changes()).Networks[0].After
		default:
		}
		if diff := cmp.Diff(want, got, compareObjects()); diff != "" {
			t.Fatal(diff)
		}
	})
}
