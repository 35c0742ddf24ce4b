package request

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/docker/cli/opts"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/spf13/pflag"
)

// Network is what the flags of network create say.
type Network struct {
	flags *pflag.FlagSet

	driver, scope, configFrom                 string
	options                                   opts.MapOpts
	labels                                    []string
	internal, attachable, ingress, configOnly bool
	ipv4, ipv6                                bool
	pools                                     string // the driver of address pools
	subnets, ranges, gateways                 []string
	auxiliary, poolOptions                    opts.MapOpts
}

// NewNetwork adds the flags.
func NewNetwork(flags *pflag.FlagSet) *Network {
	f := &Network{
		flags: flags, options: *opts.NewMapOpts(nil, nil), auxiliary: *opts.NewMapOpts(nil, nil), poolOptions: *opts.NewMapOpts(nil, nil),
	}
	flags.StringVarP(&f.driver, "driver", "d", "bridge", "Driver to manage the Network")
	flags.VarP(&f.options, "opt", "o", "Set driver specific options")
	List(flags, &f.labels, "label", "", "Set metadata on a network", opts.ValidateLabel)
	flags.BoolVar(&f.internal, "internal", false, "Restrict external access to the network")
	flags.BoolVar(&f.ipv4, "ipv4", true, "Enable or disable IPv4 address assignment")
	flags.BoolVar(&f.ipv6, "ipv6", false, "Enable or disable IPv6 address assignment")
	flags.BoolVar(&f.attachable, "attachable", false, "Enable manual container attachment")
	flags.BoolVar(&f.ingress, "ingress", false, "Create swarm routing-mesh network")
	flags.StringVar(&f.scope, "scope", "", "Control the network's scope")
	flags.BoolVar(&f.configOnly, "config-only", false, "Create a configuration only network")
	flags.StringVar(&f.configFrom, "config-from", "", "The network from which to copy the configuration")
	flags.StringVar(&f.pools, "ipam-driver", "default", "IP Address Management Driver")
	flags.StringSliceVar(&f.subnets, "subnet", []string{}, "Subnet in CIDR format that represents a network segment")
	flags.StringSliceVar(&f.ranges, "ip-range", []string{}, "Allocate container ip from a sub-range")
	flags.StringSliceVar(&f.gateways, "gateway", []string{}, "IPv4 or IPv6 Gateway for the master subnet")
	flags.Var(&f.auxiliary, "aux-address", "Auxiliary IPv4 or IPv6 addresses used by Network driver")
	flags.Var(&f.poolOptions, "ipam-opt", "Set IPAM driver specific options")
	return f
}

// Request is the network of a name that the flags describe.
func (f *Network) Request(name string) (network.CreateRequest, error) {
	pools, err := f.addressPools()
	if err != nil {
		return network.CreateRequest{}, err
	}
	request := network.CreateRequest{
		Name:       name,
		Driver:     f.driver,
		Scope:      f.scope,
		IPAM:       &network.IPAM{Driver: f.pools, Options: f.poolOptions.GetAll(), Config: pools},
		Internal:   f.internal,
		Attachable: f.attachable,
		Ingress:    f.ingress,
		ConfigOnly: f.configOnly,
		Options:    f.options.GetAll(),
		Labels:     opts.ConvertKVStringsToMap(f.labels),
	}
	if f.flags.Changed("ipv4") {
		request.EnableIPv4 = &f.ipv4
	}
	if f.flags.Changed("ipv6") {
		request.EnableIPv6 = &f.ipv6
	}
	if f.configFrom != "" {
		request.ConfigFrom = &network.ConfigReference{Network: f.configFrom}
	}
	return request, nil
}

// addressPools brings ranges, gateways and auxiliary addresses to the subnets that
// they are in.
func (f *Network) addressPools() ([]network.IPAMConfig, error) {
	if len(f.subnets) < len(f.ranges) || len(f.subnets) < len(f.gateways) {
		return nil, errors.New("every ip-range or gateway must have a corresponding subnet")
	}
	pools := make([]network.IPAMConfig, 0, len(f.subnets))
	for _, text := range f.subnets {
		subnet, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("invalid subnet: invalid CIDR address: %s", text)
		}
		if slices.ContainsFunc(pools, func(p network.IPAMConfig) bool { return p.Subnet.Overlaps(subnet) }) {
			return nil, errors.New("multiple overlapping subnet configuration is not supported")
		}
		pools = append(pools, network.IPAMConfig{Subnet: subnet})
	}
	for _, text := range f.ranges {
		if err := putRange(pools, text); err != nil {
			return nil, err
		}
	}
	for _, text := range f.gateways {
		if err := putGateway(pools, text); err != nil {
			return nil, err
		}
	}
	auxiliary := f.auxiliary.GetAll()
	for _, name := range slices.Sorted(maps.Keys(auxiliary)) {
		if err := putAuxiliary(pools, name, auxiliary[name]); err != nil {
			return nil, err
		}
	}
	return pools, nil
}

// around is the pool that an address is in, nil if there is none.
func around(pools []network.IPAMConfig, address netip.Addr) *network.IPAMConfig {
	if i := slices.IndexFunc(pools, func(p network.IPAMConfig) bool { return p.Subnet.Contains(address) }); i >= 0 {
		return &pools[i]
	}
	return nil
}

func putRange(pools []network.IPAMConfig, text string) error {
	within, err := netip.ParsePrefix(text)
	if err != nil {
		return fmt.Errorf("invalid CIDR address: %s", text)
	}
	switch pool := around(pools, within.Addr()); {
	case pool == nil:
		return fmt.Errorf("no matching subnet for range %s", text)
	case pool.IPRange.IsValid():
		return fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", text, pool.IPRange, pool.Subnet)
	default:
		pool.IPRange = within
	}
	return nil
}

func putGateway(pools []network.IPAMConfig, text string) error {
	address, _ := netip.ParseAddr(text) // what is no address is in no subnet
	switch pool := around(pools, address); {
	case pool == nil:
		return fmt.Errorf("no matching subnet for gateway %s", text)
	case pool.Gateway.IsValid():
		return fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", text, pool.Gateway, pool.Subnet)
	default:
		pool.Gateway = address
	}
	return nil
}

func putAuxiliary(pools []network.IPAMConfig, name, text string) error {
	if text == "" {
		return nil
	}
	address, _ := netip.ParseAddr(text)
	pool := around(pools, address)
	if pool == nil {
		return fmt.Errorf("no matching subnet for aux-address %s", text)
	}
	if pool.AuxAddress == nil {
		pool.AuxAddress = map[string]netip.Addr{}
	}
	pool.AuxAddress[name] = address
	return nil
}

// Spec is the network of a name that the flags describe, as the swarm stores it. It
// has no place for all that a request can say.
func (f *Network) Spec(name string) (swarm.NetworkSpec, error) {
	r, err := f.Request(name)
	if err != nil {
		return swarm.NetworkSpec{}, err
	}
	spec := swarm.NetworkSpec{
		Annotations:         swarm.Annotations{Name: r.Name, Labels: r.Labels},
		DriverConfiguration: &swarm.Driver{Name: r.Driver, Options: r.Options},
		IPv6Enabled:         f.ipv6,
		Internal:            r.Internal,
		Attachable:          r.Attachable,
		Ingress:             r.Ingress,
		ConfigFrom:          r.ConfigFrom,
		Scope:               r.Scope,
		IPAMOptions:         &swarm.IPAMOptions{Driver: swarm.Driver{Name: r.IPAM.Driver, Options: r.IPAM.Options}},
	}
	if r.ConfigOnly || !f.ipv4 || len(f.auxiliary.GetAll()) > 0 {
		return spec, errors.New("a swarm's network has no --config-only, --ipv4=false or --aux-address")
	}
	for _, c := range r.IPAM.Config {
		spec.IPAMOptions.Configs = append(spec.IPAMOptions.Configs, swarm.IPAMConfig{Subnet: c.Subnet, Range: c.IPRange, Gateway: c.Gateway})
	}
	return spec, nil
}
