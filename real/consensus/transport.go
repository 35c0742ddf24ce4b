package consensus

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine/state"
)

// Limits of a transport.
const (
	poolMax       = 3               // connections that are kept to each manager
	messagePeriod = 5 * time.Second // for a message and its answer
)

// Streams are byte streams between managers, each of which knows who is at the
// other end. Accept returns an error once Close has been called.
type Streams interface {
	net.Listener
	// Dial connects to a node, and to no other that may be at its address.
	Dial(node state.NodeID, addr string, timeout time.Duration) (net.Conn, error)
}

// A Transport carries raft's messages over byte streams. It outlives the logs that
// use it, one at a time, and is closed by who has made it.
type Transport struct{ *raft.NetworkTransport }

// NewTransport makes a transport, for Config.Transport.
func NewTransport(streams Streams, logger *slog.Logger) *Transport {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Transport{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: streamLayer{streams}, MaxPool: poolMax, Timeout: messagePeriod, Logger: newLogger(logger),
	})}
}

// addressSeparator stands between the node and its address, in what raft takes for
// an address: a stream must know both.
const addressSeparator = "@"

func joinAddress(id raft.ServerID, addr raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(string(id) + addressSeparator + string(addr))
}

type streamLayer struct{ Streams }

// Dial implements raft.StreamLayer.
func (s streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	node, addr, ok := strings.Cut(string(address), addressSeparator)
	if !ok || node == "" || !strings.Contains(addr, ":") {
		return nil, fmt.Errorf("it is not known where manager %s is", node)
	}
	return s.Streams.Dial(state.NodeID(node), addr, timeout)
}
