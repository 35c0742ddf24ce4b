// Package check has the oracles of the simulator: what must never happen, and
// what must in the end. Each is in a file of its own and named by the sentence
// that it checks, with the number that the sentence has in the catalogue (S22,
// L4, …).
//
// A [Checker] watches a world. It keeps a store of its own, to which it applies
// the log once, so that every oracle sees each change with what was there before,
// whoever applied it first. Oracles look at the world's truth (what containers
// really run) as well as at the store.
//
// There are two phases. While anything may go wrong, the oracles of [Safety]
// watch. Then [Settle] heals a core of the hosts, leaves the others broken for
// good, lets time pass until the core has converged, and has those of [Liveness]
// look. [All] is both.
//
// An oracle costs what changes: it looks at what an entry has written, at a
// container that began or ended, and never at the whole swarm but at rest.
//
// # Sentences without an oracle
//
// They speak of what the engine does not have yet, or belong elsewhere:
//
//   - S1, S2: the model of the log elects one leader a term and copies entries; S4
//     and S9 would show it if it did not. S12: membership of the log is fixed.
//   - S13 is linearizability, which is checked from the history of calls.
//   - S17: the model's disks lose nothing that was written.
//   - S38: where managers run in sandboxes, what a leader remembers cannot be seen.
//   - S40: what a resolver answers is a plan's names; nobody asks it here.
//   - S41 to S47: there are no certificates, tokens, secrets or keys in use.
//   - L11, L12: there is neither rotation nor promotion. L18: a daemon is killed,
//     it does not shut down.
//
// Not guaranteed: that a world which breaks no sentence is right; it has only not
// been caught.
package check
