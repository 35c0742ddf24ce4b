package api

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// swarmPort is the port of the swarm when an address names none.
const swarmPort = "2377"

// An Interface is one of the host's network interfaces that is up and is not a
// loopback, with those of its addresses that other hosts could reach.
type Interface struct {
	Name      string
	Addresses []netip.Addr
}

// SystemInterfaces lists the host's interfaces, without those that a container
// engine makes.
func SystemInterfaces() ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing the host's interfaces: %w", err)
	}
	var usable []Interface
	for _, device := range all {
		if device.Flags&net.FlagUp == 0 || device.Flags&net.FlagLoopback != 0 || ofContainers(device.Name) {
			continue
		}
		addrs, err := device.Addrs()
		if err != nil {
			continue // It went away meanwhile.
		}
		found := Interface{Name: device.Name}
		for _, addr := range addrs {
			prefix, err := netip.ParsePrefix(addr.String())
			if err == nil && prefix.Addr().IsGlobalUnicast() {
				found.Addresses = append(found.Addresses, prefix.Addr())
			}
		}
		usable = append(usable, found)
	}
	return usable, nil
}

// ofContainers reports whether an interface is known to belong to a container
// engine, ours or another.
func ofContainers(name string) bool {
	for _, prefix := range []string{"docker", "br-", "veth", "swarmd", "swarm", "cni", "virbr"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// addresses are where the swarm listens and is reached, as IP:port; dataPath
// has no port.
type addresses struct{ listen, advertise, dataPath string }

// resolve turns what the user wrote (an IP address or the name of an interface,
// with or without a port, or nothing) into addresses. Rules and texts are
// Docker's.
func resolve(list func() ([]Interface, error), listen, advertise, dataPath string) (addresses, error) {
	interfaces, err := list()
	if err != nil {
		return addresses{}, err
	}
	var resolved addresses
	listenIP, listenPort, err := resolveListen(interfaces, listen)
	if err != nil {
		return addresses{}, err
	}
	resolved.listen = net.JoinHostPort(listenIP.String(), listenPort)
	switch {
	case advertise != "":
		ip, port, err := resolveAdvertise(interfaces, advertise, swarmPort)
		if err != nil {
			return addresses{}, err
		}
		resolved.advertise = net.JoinHostPort(ip.String(), port)
	case !listenIP.IsUnspecified():
		resolved.advertise = resolved.listen
	default:
		ip, err := systemAddress(interfaces)
		if err != nil {
			return addresses{}, err
		}
		resolved.advertise = net.JoinHostPort(ip.String(), listenPort)
	}
	if dataPath != "" {
		if resolved.dataPath, err = ResolveDataPath(interfaces, dataPath); err != nil {
			return addresses{}, err
		}
	}
	return resolved, nil
}

// ResolveListen is where a host listens, as IP:port, of what a user has written: an
// IP address or the name of an interface, with or without a port.
func ResolveListen(interfaces []Interface, listen string) (string, error) {
	ip, port, err := resolveListen(interfaces, listen)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(ip.String(), port), nil
}

// ResolveAdvertise is where a host is reached by others, as IP:port, of what a user
// has written: as for [ResolveListen], and port is for one who names none. local says
// whether the address is one that the host has.
func ResolveAdvertise(interfaces []Interface, advertise, port string) (addr string, local bool, err error) {
	ip, port, err := resolveAdvertise(interfaces, advertise, port)
	if err != nil {
		return "", false, err
	}
	local = slices.ContainsFunc(interfaces, func(i Interface) bool { return slices.Contains(i.Addresses, ip) })
	return net.JoinHostPort(ip.String(), port), local, nil
}

// ResolveDataPath is the IP address that traffic between containers goes by, of what
// a user has written: as for [ResolveListen], without a port.
func ResolveDataPath(interfaces []Interface, dataPath string) (string, error) {
	ip, err := resolveHost(interfaces, dataPath)
	if err != nil || ip.IsUnspecified() {
		return "", badRequest("data path address must be a non-zero IP address or network interface (without a port number)")
	}
	return ip.String(), nil
}

// remotesMax is how many managers a node that joins may be told of.
const remotesMax = 64

// remoteAddresses are the managers to join by, host:port.
func remoteAddresses(remotes []string) ([]string, error) {
	if len(remotes) == 0 {
		return nil, badRequest("at least 1 RemoteAddr is required to join")
	}
	if len(remotes) > remotesMax {
		return nil, badRequest("%d RemoteAddrs are too many to join by: at most %d are tried", len(remotes), remotesMax)
	}
	var completed []string
	for _, remote := range remotes {
		host, port, err := splitPort(strings.TrimPrefix(remote, "tcp://"), swarmPort)
		if err != nil || host == "" {
			return nil, badRequest("invalid remoteAddr %q: it must be a host name or an IP address (with optional port number)", remote)
		}
		completed = append(completed, net.JoinHostPort(host, port))
	}
	return completed, nil
}

// resolveJoining is resolve for a host that joins: where it could not choose the
// address to be reached at, that is the one from which it reaches a manager.
func resolveJoining(list func() ([]Interface, error), listen, advertise, dataPath string, remotes []string) (addresses, error) {
	resolved, err := resolve(list, listen, advertise, dataPath)
	if err == nil || advertise != "" {
		return resolved, err
	}
	local, ok := addressTowards(remotes)
	if !ok {
		return addresses{}, err
	}
	return resolve(list, listen, net.JoinHostPort(local, portOf(listen)), dataPath)
}

func portOf(listen string) string {
	if _, port, err := splitPort(listen, swarmPort); err == nil && listen != "" {
		return port
	}
	return swarmPort
}

// addressTowards is the host's address on the way to one of the remotes. Nothing
// is sent.
func addressTowards(remotes []string) (string, bool) {
	for _, remote := range remotes {
		conn, err := net.Dial("udp", remote)
		if err != nil {
			continue
		}
		local, ok := conn.LocalAddr().(*net.UDPAddr)
		if conn.Close() == nil && ok && !local.IP.IsUnspecified() {
			return local.IP.String(), true
		}
	}
	return "", false
}

func resolveListen(interfaces []Interface, listen string) (netip.Addr, string, error) {
	if listen == "" {
		return netip.IPv4Unspecified(), swarmPort, nil
	}
	host, port, err := splitPort(listen, swarmPort)
	if err != nil {
		return netip.Addr{}, "", badRequest("listen address must be an IP address or network interface (with optional port number)")
	}
	if host == "" {
		return netip.IPv4Unspecified(), port, nil
	}
	ip, err := resolveHost(interfaces, host)
	if err != nil {
		return netip.Addr{}, "", badRequest("listen address must be an IP address or network interface (with optional port number)")
	}
	return ip, port, nil
}

func resolveAdvertise(interfaces []Interface, advertise, port string) (netip.Addr, string, error) {
	wrong := badRequest("advertise address must be a non-zero IP address or network interface (with optional port number)")
	host, port, err := splitPort(advertise, port)
	if err != nil {
		return netip.Addr{}, "", wrong
	}
	ip, err := resolveHost(interfaces, host)
	if err != nil || ip.IsUnspecified() {
		return netip.Addr{}, "", wrong
	}
	return ip, port, nil
}

// splitPort splits host:port; without a port it is the one given.
func splitPort(address, without string) (host, port string, err error) {
	if _, err := netip.ParseAddr(address); err == nil || !strings.Contains(address, ":") {
		return address, without, nil
	}
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", err
	}
	if port == "" {
		return host, without, nil
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", "", err
	}
	return host, port, nil
}

// resolveHost reads an IP address, or takes the first address of an interface,
// IPv4 before IPv6.
func resolveHost(interfaces []Interface, host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip, nil
	}
	i := slices.IndexFunc(interfaces, func(device Interface) bool { return device.Name == host })
	if i < 0 {
		return netip.Addr{}, badRequest("no such interface")
	}
	if ip, ok := preferred(interfaces[i].Addresses); ok {
		return ip, nil
	}
	return netip.Addr{}, badRequest("interface %s has no usable IPv4 or IPv6 addresses", host)
}

func preferred(addresses []netip.Addr) (netip.Addr, bool) {
	if len(addresses) == 0 {
		return netip.Addr{}, false
	}
	if i := slices.IndexFunc(addresses, netip.Addr.Is4); i >= 0 {
		return addresses[i], true
	}
	return addresses[0], true
}

// systemAddress is the host's only address, IPv4 before IPv6. With several the
// user must choose.
func systemAddress(interfaces []Interface) (netip.Addr, error) {
	for _, wanted := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		var found netip.Addr
		var on string
		for _, device := range interfaces {
			for _, ip := range device.Addresses {
				switch {
				case !wanted(ip):
				case !found.IsValid():
					found, on = ip, device.Name
				case on == device.Name:
					return netip.Addr{}, badRequest("could not choose an IP address to advertise since this system has "+
						"multiple addresses on interface %s (%s and %s) - specify one with --advertise-addr", on, found, ip)
				default:
					return netip.Addr{}, badRequest("could not choose an IP address to advertise since this system has "+
						"multiple addresses on different interfaces (%s on %s and %s on %s) - specify one with --advertise-addr",
						found, on, ip, device.Name)
				}
			}
		}
		if found.IsValid() {
			return found, nil
		}
	}
	return netip.Addr{}, badRequest("could not find the system's IP address - specify one with --advertise-addr")
}
