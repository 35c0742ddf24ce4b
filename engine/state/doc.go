// Package state holds the replicated objects of a swarm and the store they live
// in.
//
// What is replicated is bytes: a [Change] puts or deletes one object under a
// [Key], and applying it has no logic, so that the stores of all managers are
// equal byte for byte at every index ([Store.Hash] is the proof). Objects of
// kinds that this build does not know are kept as they are; fields that it does
// not know survive a rewrite.
//
// Beside the bytes a store holds each object decoded, and indexes over them.
// What is in the store is frozen: to change an object, put a changed copy into a
// [Draft]. A draft is a store with changes not yet made; its reads see them.
//
// Nothing here is safe for concurrent use, except what [Store.Freeze] returns.
package state
