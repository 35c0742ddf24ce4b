// Package peer is how the nodes of a swarm speak to each other: one TCP port on
// managers, TLS 1.3, and on each connection one thing, which ALPN names:
//
//   - join: a host without a certificate asks for one. The manager proves itself by
//     a chain to the root that the host's token names.
//   - renew: a node asks for its certificate once more, in the role that it has by
//     now.
//   - control: a link. Every node keeps one to every manager, and everything that
//     is not bulk goes over it in both directions: messages of the engine, calls
//     that a manager passes on to the leader and their answers, and requests for
//     streams. Messages go before parts of large answers.
//   - raft: a byte stream between managers; real/consensus makes it a transport.
//   - stream: a byte stream from a node to a manager that has asked for it over a
//     link, such as a container's log. The node dials, so that nodes need no open
//     port of their own.
//
// All but join are mutual: both sides show a certificate of the swarm. What a node
// may do follows from the role in its certificate, and is checked for every
// message and every call: a worker's certificate opens nothing of a manager's.
//
// A [Peers] is put together with functions for what it does not know: its own
// certificate, what to do with a message, a call, a request. It starts goroutines
// of its own, and [Peers.Close] waits for them.
//
// Not guaranteed: that a message arrives. One to a node without a link is dropped,
// as is one that finds its link's queue full. A call whose link is lost has an
// unknown outcome, which [ErrLost] says.
package peer
