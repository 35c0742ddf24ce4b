package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/swarmd/swarmd/sim"
)

// Limits of an instance.
const (
	memoryPagesMax = 1 << 14  // of 64 KiB: 1 GiB
	memoryLimit    = "384MiB" // from which on the program's runtime collects garbage
	outputBytesMax = 16 << 10 // of what a process says as it crashes
)

// exitKilled is the exit code of a process that was killed, as shells have it.
const exitKilled = 137

// A Program is one that can be started any number of times.
type Program struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	name     string
}

var _ sim.Program = (*Program)(nil)

// Load reads a program and compiles it, which takes a while unless the folder
// cache has it from an earlier time. cache "" keeps nothing.
func Load(file, cache string) (*Program, error) {
	binary, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the program of simulated managers cannot be read: %w", err)
	}
	ctx := context.Background()
	config := wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(memoryPagesMax)
	if cache != "" {
		kept, err := wazero.NewCompilationCacheWithDir(cache)
		if err != nil {
			return nil, fmt.Errorf("compiled programs cannot be kept: %w", err)
		}
		config = config.WithCompilationCache(kept)
	}
	runtime := wazero.NewRuntimeWithConfig(ctx, config)
	p, err := load(ctx, runtime, binary)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is no program for simulated managers: %w", file, err), runtime.Close(ctx))
	}
	return p, nil
}

func load(ctx context.Context, runtime wazero.Runtime, binary []byte) (*Program, error) {
	system := runtime.NewHostModuleBuilder(wasi_snapshot_preview1.ModuleName)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(system)
	exportSystem(system)
	if _, err := system.Instantiate(ctx); err != nil {
		return nil, err
	}
	own := runtime.NewHostModuleBuilder("swarmd")
	exportOwn(own)
	if _, err := own.Instantiate(ctx); err != nil {
		return nil, err
	}
	compiled, err := runtime.CompileModule(ctx, binary)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(binary)
	return &Program{runtime, compiled, hex.EncodeToString(sum[:6])}, nil
}

// Name implements [sim.Program]: it is the beginning of the file's SHA-256.
func (p *Program) Name() string { return p.name }

// Close lets go of the program. Its instances must have ended.
func (p *Program) Close() error { return p.runtime.Close(context.Background()) }

// An instance is a process: a coroutine that stands in poll_oneoff.
type instance struct {
	system sim.System
	rest   func(wake int64) bool // stands until it is let go on; false: it is to end
	next   func() (int64, bool)
	stop   func()
	output []byte
	why    string
	poll   [maxSubscriptions]subscription
}

type instanceKey struct{}

func of(ctx context.Context) *instance { return ctx.Value(instanceKey{}).(*instance) }

// Start implements [sim.Program].
func (p *Program) Start(system sim.System, argument string) sim.Instance {
	i := &instance{system: system}
	ctx := context.WithValue(context.Background(), instanceKey{}, i)
	ctx = experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(allocate))
	config := wazero.NewModuleConfig().WithName("").WithArgs("guest", argument).
		WithEnv("GOGC", "off").WithEnv("GOMEMLIMIT", memoryLimit)
	i.next, i.stop = iter.Pull(func(yield func(int64) bool) {
		i.rest = yield
		module, err := p.runtime.InstantiateModule(ctx, p.compiled, config)
		if module != nil {
			err = errors.Join(err, module.Close(ctx))
		}
		i.ended(err)
	})
	return i
}

// ended notes how the process came to its end.
func (i *instance) ended(err error) {
	var exit *sys.ExitError
	switch {
	case err == nil:
	case !errors.As(err, &exit):
		i.why = err.Error()
	case exit.ExitCode() != 0 && exit.ExitCode() != exitKilled:
		i.why = fmt.Sprintf("exit status %d", exit.ExitCode())
	}
	if i.why != "" && len(i.output) > 0 {
		i.why += ": " + strings.TrimSpace(string(i.output))
	}
}

// Run implements [sim.Instance].
func (i *instance) Run() (wake int64, ended bool) {
	wake, ok := i.next()
	if !ok {
		return math.MaxInt64, true
	}
	return wake, false
}

// End implements [sim.Instance].
func (i *instance) End() { i.stop() }

// Why implements [sim.Instance].
func (i *instance) Why() string { return i.why }
