package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tableName is the table, in a host's network namespace, that says whom it does
// not hear.
const tableName = "lab"

// namespaceName is the network namespace of what is in a directory.
func namespaceName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "lab-" + hex.EncodeToString(sum[:6])
}

func namespaceFile(name string) string { return filepath.Join("/run/netns", name) }

// NetworkNamespace is the file that is the host's network namespace.
func (h *Host) NetworkNamespace() string { return namespaceFile(h.netns) }

// powered reports whether the host has a network, which it loses with its power.
func (h *Host) powered() bool { return namespaceExists(h.netns) }

func namespaceExists(name string) bool {
	_, err := os.Stat(namespaceFile(name))
	return err == nil
}

// plugIn makes the host's network, the whole of it or nothing.
func (h *Host) plugIn() error {
	err := h.makeNetwork()
	if err != nil {
		err = errors.Join(err, removeNamespace(h.netns))
	}
	return err
}

// framesAlone has bridges of a namespace know of frames alone, as a switch does: the
// kernel may have filters of packets look at what they forward.
const framesAlone = `for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$f" ] || echo 0 >"$f"; done`

func (h *Host) makeNetwork() error {
	card := []string{"-n", h.netns, "link", "add", "eth0", "address", hardwareAddr(h.Addr), "type"}
	if h.Switch == "" {
		card = append(card, "bridge") // so that it has its address without a cable
	} else {
		card = append(card, "veth", "peer", "name", h.port(), "netns", h.Switch)
	}
	err := ip(
		[]string{"netns", "add", h.netns},
		[]string{"netns", "exec", h.netns, "sh", "-c", framesAlone},
		[]string{"-n", h.netns, "link", "set", "lo", "up"},
		card,
		[]string{"-n", h.netns, "addr", "add", h.Addr + "/24", "dev", "eth0"},
		[]string{"-n", h.netns, "link", "set", "eth0", "up"},
	)
	if err == nil && h.Switch != "" {
		err = ip([]string{"-n", h.Switch, "link", "set", h.port(), "master", "switch", "up"})
	}
	if err == nil && len(h.Deaf) > 0 {
		err = h.applyDeaf()
	}
	return err
}

// Move gives a host that has no power another address, and its daemon other further
// arguments: both count from when it is started again. Who is not to hear it is told
// by the address that it has then.
func (h *Host) Move(addr string, args ...string) error {
	if h.powered() {
		return fmt.Errorf("host %s has power, and keeps its address", h.Name)
	}
	h.Addr, h.Args = addr, args
	return h.save()
}

// port is the switch's end of the host's cable.
func (h *Host) port() string { return "to-" + strings.ReplaceAll(h.Addr, ".", "-") }

// Unplug pulls the host's cable out of the switch, or puts it in again.
func (h *Host) Unplug(out bool) error {
	state := "up"
	if out {
		state = "down"
	}
	return ip([]string{"-n", h.Switch, "link", "set", h.port(), state})
}

// hardwareAddr is the hardware address that goes with an IPv4 address.
func hardwareAddr(addr string) string {
	b := netip.MustParseAddr(addr).As4()
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

// Mute has the host not hear others, by their addresses, from now on, or hear
// them again. What was begun goes on: packets are lost, no connection is closed.
func (h *Host) Mute(addrs []string, mute bool) error {
	h.Deaf = slices.DeleteFunc(h.Deaf, func(a string) bool { return slices.Contains(addrs, a) })
	if mute {
		h.Deaf = append(h.Deaf, addrs...)
		slices.Sort(h.Deaf)
		h.Deaf = slices.Compact(h.Deaf)
	}
	if err := h.save(); err != nil || !h.powered() {
		return err
	}
	return h.applyDeaf()
}

// applyDeaf makes the kernel's rules those of the host. What comes from a host is
// told by its hardware address: whatever it passes on for a container or a client
// is from it too.
func (h *Host) applyDeaf() error {
	rules := "table inet " + tableName + " {}\ndelete table inet " + tableName + "\n"
	if len(h.Deaf) > 0 {
		var from []string
		for _, addr := range h.Deaf {
			from = append(from, hardwareAddr(addr))
		}
		rules += "table inet " + tableName + " {\n" +
			"chain hear { type filter hook prerouting priority -450; policy accept; ether saddr { " + strings.Join(from, ", ") + " } drop; }\n}\n"
	}
	nft := exec.Command("ip", "netns", "exec", h.netns, "nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	if out, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft on host %s: %w: %s", h.Name, err, out)
	}
	return nil
}

// ip runs the program of that name, once for each line of words, up to the first
// that fails.
func ip(lines ...[]string) error {
	for _, words := range lines {
		if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(words, " "), err, out)
		}
	}
	return nil
}

// removeNamespace takes a network namespace away, with all that is in it.
func removeNamespace(name string) error {
	if !namespaceExists(name) {
		return nil
	}
	err := ip([]string{"netns", "del", name})
	if err != nil && !namespaceExists(name) {
		return nil
	}
	if err != nil {
		return errors.Join(errors.New("remove the network namespace"), err)
	}
	return nil
}
