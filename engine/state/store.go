package state

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/swarmd/swarmd/engine/mutant"
)

// A Store holds every object of the swarm: the bytes that were replicated, the
// objects that they encode, and indexes over those.
type Store struct {
	index       uint64
	sum         [2]uint64 // see Hash
	undecodable int

	cluster   *Cluster // the one there is
	clusters  table[ClusterID, Cluster]
	nodes     table[NodeID, Node]
	services  table[ServiceID, Service]
	templates table[string, Template]
	tasks     table[TaskID, Task]
	networks  table[NetworkID, Network]
	other     map[Key][]byte // of kinds that this build does not know

	nodeIDs    sorted[NodeID]
	serviceIDs sorted[ServiceID]
	networkIDs sorted[NetworkID]
	hostnames  map[string][]NodeID
	names      map[string]ServiceID // exact
	folded     map[string]ServiceID // in lower case
	versions   map[ServiceID][]*Template
	slots      map[ServiceID]*slotIndex
	withTasks  sorted[ServiceID] // services that have tasks, the removed ones too
	onNode     map[NodeID][]*Task
	ports      portIndex
	// networkNames are those of networks that have not been removed.
	networkNames map[string]NetworkID

	messages map[string]string // status texts, shared
	scratch  []byte
}

// A table holds the objects of one kind.
type table[ID comparable, T any] map[ID]stored[T]

// stored is one object; object is nil if its bytes could not be decoded.
type stored[T any] struct {
	raw    []byte
	object *T
}

// Diff is one object before and after a change: Before is nil when it was
// created, After when it was removed.
type Diff[T any] struct{ Before, After *T }

// A Delta is what changed, in order.
type Delta struct {
	Clusters  []Diff[Cluster]
	Nodes     []Diff[Node]
	Services  []Diff[Service]
	Templates []Diff[Template]
	Tasks     []Diff[Task]
	Networks  []Diff[Network]
	Other     []Key
}

// Empty reports whether nothing changed.
func (d *Delta) Empty() bool {
	return len(d.Clusters)+len(d.Nodes)+len(d.Services)+len(d.Templates)+len(d.Tasks)+len(d.Networks)+len(d.Other) == 0
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{
		clusters:  make(table[ClusterID, Cluster]),
		nodes:     make(table[NodeID, Node]),
		services:  make(table[ServiceID, Service]),
		templates: make(table[string, Template]),
		tasks:     make(table[TaskID, Task]),
		networks:  make(table[NetworkID, Network]),
		other:     make(map[Key][]byte),
		hostnames: make(map[string][]NodeID),
		names:     make(map[string]ServiceID),
		folded:    make(map[string]ServiceID),
		versions:  make(map[ServiceID][]*Template),
		slots:     make(map[ServiceID]*slotIndex),
		onNode:    make(map[NodeID][]*Task),
		ports:     make(portIndex),
		messages:  make(map[string]string),

		networkNames: make(map[string]NetworkID),
	}
}

// Index is the log index of the last entry applied.
func (s *Store) Index() uint64 { return s.index }

// Undecodable is how many objects of known kinds have bytes that this build
// cannot read; they are kept, and are not seen as objects.
func (s *Store) Undecodable() int { return s.undecodable }

// Len returns how many objects of a known kind there are.
func (s *Store) Len(k Kind) int {
	switch k {
	case KindCluster:
		return len(s.clusters)
	case KindNode:
		return len(s.nodes)
	case KindService:
		return len(s.services)
	case KindTemplate:
		return len(s.templates)
	case KindTask:
		return len(s.tasks)
	case KindNetwork:
		return len(s.networks)
	default:
		return 0
	}
}

// Hash is equal for two stores exactly if they hold the same bytes under the
// same keys, but for accidents: it is the sum, in two lanes modulo 2^64, of
// SHA-256 of every object, and so costs no more to keep than what changes.
func (s *Store) Hash() [16]byte {
	var h [16]byte
	binary.BigEndian.PutUint64(h[:8], s.sum[0])
	binary.BigEndian.PutUint64(h[8:], s.sum[1])
	return h
}

// Apply makes the changes of the entry at index, in order. It never fails:
// bytes that cannot be decoded are kept all the same.
func (s *Store) Apply(index uint64, changes []Change) Delta {
	var delta Delta
	for _, c := range changes {
		if mutant.On(mutant.ApplyImpure) && mutant.Reached()%64 == 0 {
			continue
		}
		s.apply(c, &delta)
	}
	s.index = index
	return delta
}

func (s *Store) apply(c Change, delta *Delta) {
	switch c.Key.Kind {
	case KindCluster:
		d := replace(s, s.clusters, ClusterID(c.Key.ID), c, decodeCluster)
		s.cluster = d.After
		delta.Clusters = append(delta.Clusters, d)
	case KindNode:
		d := replace(s, s.nodes, NodeID(c.Key.ID), c, decodeNode)
		s.indexNode(d)
		delta.Nodes = append(delta.Nodes, d)
	case KindService:
		d := replace(s, s.services, ServiceID(c.Key.ID), c, decodeService)
		s.indexService(d)
		delta.Services = append(delta.Services, d)
	case KindTemplate:
		d := replace(s, s.templates, c.Key.ID, c, decodeTemplate)
		s.indexTemplate(d)
		delta.Templates = append(delta.Templates, d)
	case KindTask:
		d := replace(s, s.tasks, TaskID(c.Key.ID), c, s.decodeTask)
		s.indexTask(d)
		delta.Tasks = append(delta.Tasks, d)
	case KindNetwork:
		d := replace(s, s.networks, NetworkID(c.Key.ID), c, decodeNetwork)
		s.indexNetwork(d)
		delta.Networks = append(delta.Networks, d)
	default:
		s.hash(c.Key, s.other[c.Key], true)
		delete(s.other, c.Key)
		if c.Data != nil {
			s.other[c.Key] = clone(c.Data)
			s.hash(c.Key, c.Data, false)
		}
		delta.Other = append(delta.Other, c.Key)
	}
}

// replace puts or deletes one object of a table.
func replace[ID comparable, T any](s *Store, t table[ID, T], id ID, c Change, decode func(string, []byte) (*T, error)) Diff[T] {
	old, had := t[id]
	if had {
		s.hash(c.Key, old.raw, true)
		if old.object == nil {
			s.undecodable--
		}
	}
	if c.Data == nil {
		delete(t, id)
		return Diff[T]{Before: old.object}
	}
	raw := clone(c.Data)
	object, err := decode(c.Key.ID, raw)
	if err != nil {
		object = nil
		s.undecodable++
	}
	t[id] = stored[T]{raw, object}
	s.hash(c.Key, raw, false)
	return Diff[T]{Before: old.object, After: object}
}

// hash adds an object to the sum, or takes it out.
func (s *Store) hash(k Key, data []byte, out bool) {
	if data == nil {
		return
	}
	s.scratch = appendKey(s.scratch[:0], k)
	s.scratch = append(s.scratch, data...)
	h := sha256.Sum256(s.scratch)
	a, b := binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:16])
	if out {
		a, b = -a, -b
	}
	s.sum[0] += a
	s.sum[1] += b
}

func appendKey(b []byte, k Key) []byte {
	b = append(b, byte(k.Kind))
	b = binary.AppendUvarint(b, uint64(len(k.ID)))
	return append(b, k.ID...)
}

// internNode returns the identifier of a node without a copy of its own, if the
// node is known.
func (s *Store) internNode(b []byte) NodeID {
	if n, ok := s.nodes[NodeID(b)]; ok && n.object != nil {
		return n.object.ID
	}
	return NodeID(s.internMessage(b))
}

func (s *Store) internService(b []byte) ServiceID {
	if v, ok := s.services[ServiceID(b)]; ok && v.object != nil {
		return v.object.ID
	}
	if x, ok := s.slots[ServiceID(b)]; ok {
		return x.service
	}
	return ServiceID(b)
}

// internMax bounds the texts that are shared; beyond it each has its own copy.
const internMax = 4096

func (s *Store) internMessage(b []byte) string {
	if m, ok := s.messages[string(b)]; ok {
		return m
	}
	m := string(b)
	if len(s.messages) < internMax && len(m) <= 128 {
		s.messages[m] = m
	}
	return m
}

// templateID is the key of a template: its service and version.
func templateID(service ServiceID, version uint64) string {
	return string(service) + "." + strconv.FormatUint(version, 10)
}

func splitTemplateID(id string) (ServiceID, uint64, bool) {
	i := strings.LastIndexByte(id, '.')
	if i < 0 {
		return "", 0, false
	}
	version, err := strconv.ParseUint(id[i+1:], 10, 64)
	return ServiceID(id[:i]), version, err == nil && templateID(ServiceID(id[:i]), version) == id
}
