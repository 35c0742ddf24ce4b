// Swarmd-shim tells containerd where the shim of a container is.
//
// containerd runs it instead of its own program, where it is installed beside the
// daemon. It needs a third of the time to find a shim that containers share; when
// one is to be started it lets containerd's own program do that.
package main

import (
	"os"

	"github.com/swarmd/swarmd/real/runtime/shimstart"
)

func main() { os.Exit(shimstart.Run(os.Args[1:])) }
