package state

import (
	"fmt"
	"net/netip"
	"strconv"
)

// Labels of a service that say how its published ports are, where Docker has no
// option for it.
const (
	// StickyLabel, true, has connections of one client address go to one task, as
	// long as there are as many.
	StickyLabel = "swarmd.publish.sticky"
	// AddressLabel is the only IPv4 address of a host that published ports answer on,
	// such as 127.0.0.1. Hosts that do not have the address do not answer.
	AddressLabel = "swarmd.publish.address"
)

// Publishing is what the labels of a service say of its published ports.
type Publishing struct {
	Sticky  bool       `json:",omitempty"`
	Address netip.Addr `json:",omitzero"` // the zero Addr is all of the host's
}

// PublishingOf reads the labels of a service. What cannot be read is an error, and
// as if it were not there.
func PublishingOf(labels map[string]string) (Publishing, error) {
	var p Publishing
	if text, ok := labels[StickyLabel]; ok {
		sticky, err := strconv.ParseBool(text)
		if err != nil {
			return Publishing{}, fmt.Errorf("label %s: %q is neither true nor false", StickyLabel, text)
		}
		p.Sticky = sticky
	}
	if text, ok := labels[AddressLabel]; ok {
		address, err := netip.ParseAddr(text)
		if err != nil || !address.Is4() {
			return Publishing{}, fmt.Errorf("label %s: %q is no IPv4 address of a host, such as 127.0.0.1", AddressLabel, text)
		}
		if !address.IsUnspecified() {
			p.Address = address
		}
	}
	return p, nil
}
