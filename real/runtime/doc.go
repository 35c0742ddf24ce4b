// Package runtime runs tasks as containerd containers.
//
// A [Runtime] carries out the engine's orders about images and containers, and
// posts what came of each; it also tells, unasked, when a container has ended
// and, after containerd had been lost, what is on the node. A [Local] is the
// same node as the user of a docker CLI sees it: images, containers, exec,
// volumes and their events.
//
// containerd is the one at Config.Address, or a private one that the Runtime
// starts, watches and starts again. Neither the death of this process nor that
// of containerd ends a container: shims, and the processes that write logs
// ([github.com/swarmd/swarmd/real/runtime/logwriter]), are on their own. What
// the process must know after a restart is with the container in containerd
// (record) and beside its log (life).
//
// Not guaranteed: an exit may be told twice (once as ContainersFound, once as
// ContainerExited); a container's log may end a moment after its exit is told;
// containers of other clients in the same containerd namespace are neither seen
// nor touched, their images are.
package runtime
