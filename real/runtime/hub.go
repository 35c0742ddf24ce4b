package runtime

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
)

// eventsQueuedMax is how many events wait for one who reads slowly; later ones
// are lost to it.
const eventsQueuedMax = 1024

// A hub passes events on to those who watch.
type hub struct {
	mu       sync.Mutex
	watchers map[chan events.Message]struct{}
	closed   bool
}

func (h *hub) publish(m events.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		select {
		case w <- m:
		default:
		}
	}
}

func (h *hub) watch() chan events.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := make(chan events.Message, eventsQueuedMax)
	if h.closed {
		close(w)
		return w
	}
	if h.watchers == nil {
		h.watchers = make(map[chan events.Message]struct{})
	}
	h.watchers[w] = struct{}{}
	return w
}

func (h *hub) unwatch(w chan events.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.watchers[w]; ok {
		delete(h.watchers, w)
		close(w)
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		close(w)
	}
	clear(h.watchers)
}

// tell publishes what has happened to a container.
func (r *Runtime) tell(i *instance, action events.Action, attributes map[string]string) {
	all := map[string]string{}
	maps.Copy(all, i.record.shownLabels())
	maps.Copy(all, attributes)
	all["image"], all["name"] = i.record.Container.Spec.Image, i.name()
	r.publish(events.ContainerEventType, action, i.id(), all)
}

// tellImage publishes what has happened to an image.
func (r *Runtime) tellImage(action events.Action, id, name string) {
	r.publish(events.ImageEventType, action, id, map[string]string{"name": name})
}

func (r *Runtime) publish(kind events.Type, action events.Action, id string, attributes map[string]string) {
	now := time.Now()
	r.hub.publish(events.Message{
		Type: kind, Action: action, Actor: events.Actor{ID: id, Attributes: attributes},
		Scope: "local", Time: now.Unix(), TimeNano: now.UnixNano(),
	})
}

// Events returns what happens to images and containers from now on. The channel
// closes after ctx ends.
func (l *Local) Events(ctx context.Context) <-chan events.Message {
	w := l.r.hub.watch()
	context.AfterFunc(ctx, func() { l.r.hub.unwatch(w) })
	return w
}
