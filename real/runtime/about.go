package runtime

// ContainerdVersion is the version of the containerd that runs the containers.
func (r *Runtime) ContainerdVersion() string { return r.host.version }

// Snapshotter is the name of containerd's snapshotter that images are kept with.
func (r *Runtime) Snapshotter() string { return r.host.snapshotter }
