// Package network makes the kernel's network match a [netplan.Plan].
//
// A [Network] takes plans ([Network.Apply]) and posts what came of each
// ([engine.NetworkApplied]). A plan is the whole of what is wanted, so applying
// one is: read what it asks for (wanted), compare it with what the kernel has,
// change the difference. What has been made is remembered, so that one change
// costs one change; what is not remembered is looked at before it is touched. A
// process that begins anew remembers nothing, finds everything right and changes
// nothing: containers and connections live through its restarts. From time to
// time everything is compared afresh, and what somebody broke is repaired.
//
// All of it is in the network namespace that the caller of [Start] was in:
//
//   - a bridge with the plan's gateway address. Its ports are isolated: containers
//     reach each other by published ports only.
//
//   - for each task a network namespace, held by a file in Config.NetnsDir, with lo
//     and eth0, whose hardware address derives from the IPv4 one. It is not the
//     container's own, so that it can outlive it by as much as a last packet needs.
//
//   - one nftables table. Published ports are elements of shared maps:
//
//     pub:  protocol . port         -> goto lb_N_G, for N backends
//     eps:  protocol . port . index -> address . port
//     none: protocol . port, which has no backend and refuses
//
//     and lb_N_G takes the index from a counter modulo N. The counter is that of the
//     ports of group G, one of 31: ports that share one take turns with each other.
//     A few lb_N_G stay when no port uses them any more, for the next one that does.
//     Ports that are published on one address have maps of their own (pub_at, …).
//     A client's address is kept, but for those on the loopback address and for
//     containers of this host, who are seen as the gateway.
//
//   - where the plan has a mesh, a VXLAN to the other nodes. A packet for another
//     node's task goes to that node; the connection is marked with the node that it
//     came in by, and answers go back there, so that tasks see clients as
//     themselves. Those on the loopback address, nodes, and containers are seen as
//     the node that they came in by. What comes in by the mesh is tracked in a zone
//     for each node (a table of its own, of family ip): a client may use one port of
//     its own for connections by several nodes, which a task would take for one, and
//     which it sees from different ports now. VXLAN is taken from nodes of the plan
//     only, and between nodes it is not tracked as connections (ct state untracked).
//
//   - where the plan has networks, a namespace with a bridge and a VXLAN for each,
//     on which who is where is told and not learnt, and for each task on them eth0
//     and so on (the way out is its last interface), a table that leads services'
//     own addresses to their tasks, and a name server, which with Config.NameServer
//     is a process that outlives this one.
//
//   - sockets on published ports, so that no process of the host takes one
//     unawares; those for IPv6 relay TCP and UDP to 127.0.0.1.
//
// Nothing else is touched, but for these kernel settings: ip_forward is turned
// on, those of the bridge are set, and with Config.OwnHost frames on bridges no
// longer pass through iptables.
//
// [Network.Close] leaves the kernel as it is. [Network.Remove] and [Remove]
// leave nothing. Before the first plan nothing is changed, but for the name servers
// of tasks, which are opened as the last plan had them; a plan without a gateway is
// one without a network. The last plan is written down in Config.NetnsDir: one that is
// Kept stands on it ([netplan.Reduce]).
//
// # Not guaranteed
//
//   - A host firewall that drops what is forwarded, as Docker's does, still drops:
//     to accept in one table does not override another.
//   - Containers reach what listens on the host; its firewall may forbid it.
//   - Published ports answer over IPv6 for TCP and UDP only, and such clients are seen
//     as the gateway, as one: a sticky port leads them all to one backend. Their
//     connections end with the process, and of what a backend refuses of UDP they are
//     not told.
//   - A container that may configure its network (CAP_NET_ADMIN) can undo its own
//     interface until the next sweep, and use the address of another as a source.
//   - TCP connections to a backend that is taken away go on for as long as the
//     backend lives; that is what draining needs. UDP flows move at once.
//   - A packet under way while a map shrinks may count the first backend twice.
//   - A node with several addresses that connects by one that the plan does not
//     name to a port of another node, whose task it runs itself, gets no answer.
//   - Without Config.NameServer names are answered as long as the process runs, and
//     again from its start.
//
// Threads that have entered another namespace end with the work they did there;
// no goroutine is ever run on them afterwards.
package network
