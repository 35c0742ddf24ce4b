package state

import (
	"iter"
	"net/netip"

	"github.com/moby/moby/api/types/swarm"
)

// NetworkID names a network.
type NetworkID string

// A Network is an overlay between nodes, or the one that published ports are
// carried by.
type Network struct {
	ID NetworkID
	Meta
	SpecVersion uint64
	Spec        swarm.NetworkSpec
	// VNI is the number of the network in packets between nodes.
	VNI uint32
	// Subnets are the network's, each with the address of its gateway: one of IPv4,
	// and where it is enabled one of IPv6.
	Subnets []netip.Prefix
	// Removed says that a user has removed the network. It is kept, unseen, until no
	// task has an address of it: neither its number nor its subnets are given out
	// again before.
	Removed bool
	Unknown []byte // fields of a newer format, kept as they came
}

// IPv6 reports whether whoever is on the network has an address of IPv6 too.
func (n *Network) IPv6() bool {
	for _, s := range n.Subnets {
		if s.Addr().Is6() {
			return true
		}
	}
	return false
}

// A VIP is a service's own address on a network, with the length of the network's
// prefix.
type VIP struct {
	Network NetworkID
	Address netip.Prefix
}

// An Attachment is a task's place on a network: an address of IPv4, and where the
// network has it one of IPv6.
type Attachment struct {
	Network   NetworkID
	Addresses []netip.Addr
}

// Attachments are the task's places on the networks that its template names. What a
// task has is the addresses alone, in the order of the template's networks: an
// address of IPv6 belongs with that of IPv4 before it.
func (t *Task) Attachments(made *Template) []Attachment {
	if made == nil || len(t.Addresses) == 0 {
		return nil
	}
	list := make([]Attachment, 0, len(made.Spec.Networks))
	rest := t.Addresses
	for _, n := range made.Spec.Networks {
		if len(rest) == 0 {
			break
		}
		width := 1
		if len(rest) > 1 && rest[1].Is6() {
			width = 2
		}
		list = append(list, Attachment{NetworkID(n.Target), rest[:width:width]})
		rest = rest[width:]
	}
	return list
}

// Meshed reports whether tasks made from the template are reached through the ports
// of other nodes.
func (t *Template) Meshed() bool {
	for _, p := range t.Ports {
		if p.PublishMode == swarm.PortConfigPublishModeIngress {
			return true
		}
	}
	return false
}

// Addressed reports whether a task has the addresses that it cannot do without: those
// on its template's networks. Without one in the mesh it is reached through its own
// node alone.
func (t *Task) Addressed(made *Template) bool {
	return len(t.Addresses) > 0 || len(made.Spec.Networks) == 0
}

func (n *Network) append(b []byte) []byte {
	e := encoder{b}
	e.meta(&n.Meta)
	e.uint(4, n.SpecVersion)
	e.json(5, &n.Spec, false)
	e.uint(6, uint64(n.VNI))
	e.json(7, n.Subnets, len(n.Subnets) == 0)
	e.bool(8, n.Removed)
	return append(e.b, n.Unknown...)
}

func decodeNetwork(id string, b []byte) (*Network, error) {
	n := &Network{ID: NetworkID(id)}
	rest, err := fields(b, func(d *decoder) bool {
		switch d.field {
		case 4:
			n.SpecVersion = d.num
		case 5:
			d.json(&n.Spec)
		case 6:
			n.VNI = uint32(d.num)
		case 7:
			d.json(&n.Subnets)
		case 8:
			n.Removed = d.num != 0
		default:
			return d.meta(&n.Meta)
		}
		return true
	})
	n.Unknown = rest
	return n, err
}

// addr writes an address.
func (e *encoder) addr(field int, a netip.Addr) {
	if a.IsValid() {
		e.bytes(field, a.AsSlice())
	}
}

// addrs writes addresses, each behind its length.
func (e *encoder) addrs(field int, list []netip.Addr) {
	if len(list) == 0 {
		return
	}
	var b []byte
	for _, a := range list {
		raw := a.AsSlice()
		b = append(append(b, byte(len(raw))), raw...)
	}
	e.bytes(field, b)
}

func (d *decoder) addr() netip.Addr {
	a, ok := netip.AddrFromSlice(d.data)
	if !ok {
		d.err = errEncoding
	}
	return a
}

func (d *decoder) addrs() []netip.Addr {
	var list []netip.Addr
	for b := d.data; len(b) > 0; {
		n := int(b[0])
		if n >= len(b) {
			d.err = errEncoding
			return nil
		}
		a, ok := netip.AddrFromSlice(b[1 : 1+n])
		if !ok {
			d.err = errEncoding
			return nil
		}
		list, b = append(list, a), b[1+n:]
	}
	return list
}

func (s *Store) indexNetwork(d Diff[Network]) {
	if b := d.Before; b != nil {
		if s.networkNames[b.Spec.Name] == b.ID {
			delete(s.networkNames, b.Spec.Name)
		}
		if d.After == nil {
			s.networkIDs.remove(b.ID)
		}
	}
	if a := d.After; a != nil {
		s.networkIDs.add(a.ID)
		if !a.Removed {
			s.networkNames[a.Spec.Name] = a.ID
		}
	}
}

// Network returns a network, nil if there is none. One that has been removed is
// there as long as tasks are on it.
func (d *Draft) Network(id NetworkID) *Network {
	if n, ok := d.networks[id]; ok {
		return n
	}
	return d.base.networks[id].object
}

// Networks yields every network, removed ones too, by ID.
func (d *Draft) Networks() iter.Seq[*Network] {
	return overlay(d.base.networkIDs.ids, d.networks, d.Network)
}

// NetworkByName returns the network of exactly that name which has not been
// removed, nil if there is none.
func (d *Draft) NetworkByName(name string) *Network {
	for _, id := range keysSorted(d.networks) { // few: they are those of one draft
		if n := d.networks[id]; n != nil && n.Spec.Name == name && !n.Removed {
			return n
		}
	}
	if n := d.Network(d.base.networkNames[name]); n != nil && n.Spec.Name == name && !n.Removed {
		return n
	}
	return nil
}

// NetworksByPrefix returns networks whose ID begins with prefix, at most limit.
func (d *Draft) NetworksByPrefix(prefix string, limit int) []*Network {
	return lookup(d.base.networkIDs.ids, d.networks, prefix, limit, d.Network)
}

// Ingress returns the network that published ports are carried by, nil if there is
// none.
func (d *Draft) Ingress() *Network {
	for n := range d.Networks() {
		if n.Spec.Ingress && !n.Removed {
			return n
		}
	}
	return nil
}

// PutNetwork writes a network.
func (d *Draft) PutNetwork(n *Network) {
	n.Version = d.Version()
	d.setNetwork(n.ID, n)
}

// DeleteNetwork forgets a network.
func (d *Draft) DeleteNetwork(id NetworkID) { d.setNetwork(id, nil) }

func (d *Draft) setNetwork(id NetworkID, n *Network) {
	before := d.Network(id)
	if before == nil && n == nil {
		return
	}
	_, again := d.networks[id]
	d.touch(Key{KindNetwork, string(id)}, !again, 512)
	d.networks = put(d.networks, id, n)
	d.delta.Networks = append(d.delta.Networks, Diff[Network]{before, n})
}
