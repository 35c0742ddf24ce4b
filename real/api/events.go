package api

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/swarmd/swarmd/engine/control"
)

// Limits of the event stream. Docker keeps 256 events for ?since= as well.
const (
	eventsKept       = 256
	eventsQueuedMax  = 1024 // for a client that reads too slowly
	eventWatchersMax = 4096
)

// A broker keeps the newest events and passes new ones to watchers.
type broker struct {
	mu       sync.Mutex
	kept     []events.Message // oldest first
	watchers map[*watcher]struct{}
}

// A watcher receives events until it is behind by more than its queue holds:
// then its channel closes.
type watcher struct{ events chan events.Message }

func newBroker() *broker { return &broker{watchers: map[*watcher]struct{}{}} }

func (b *broker) publish(event events.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) == eventsKept {
		b.kept = slices.Delete(b.kept, 0, 1)
	}
	b.kept = append(b.kept, event)
	for w := range b.watchers {
		select {
		case w.events <- event:
		default:
			delete(b.watchers, w)
			close(w.events)
		}
	}
}

// watch returns the events kept and a watcher of those that follow, without a
// gap between them.
func (b *broker) watch() ([]events.Message, *watcher, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.watchers) >= eventWatchersMax {
		return nil, nil, fail(http.StatusServiceUnavailable, "too many clients watch events: at most %d can", eventWatchersMax)
	}
	w := &watcher{events: make(chan events.Message, eventsQueuedMax)}
	b.watchers[w] = struct{}{}
	return slices.Clone(b.kept), w, nil
}

func (b *broker) unwatch(w *watcher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.watchers, w)
}

// swarmEvent is an event of the swarm in Docker's form.
func swarmEvent(event control.Event) events.Message {
	at := event.At.Time()
	return events.Message{
		Type:     events.Type(event.Type),
		Action:   events.Action(event.Action),
		Actor:    events.Actor{ID: event.ID, Attributes: labelsOf(event.Attributes)},
		Scope:    "swarm",
		Time:     at.Unix(),
		TimeNano: at.UnixNano(),
	}
}

// localEvent fills in what an event of this node must have.
func localEvent(event events.Message) events.Message {
	event.Scope = "local"
	event.Actor.Attributes = labelsOf(event.Actor.Attributes)
	if event.TimeNano == 0 {
		event.TimeNano = time.Now().UnixNano()
	}
	event.Time = time.Unix(0, event.TimeNano).Unix()
	return event
}

// A legacyEvent has the members of before API 1.22 in front, which Docker still
// sends for containers and images.
type legacyEvent struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

func renderEvent(event events.Message) legacyEvent {
	rendered := legacyEvent{Message: event}
	switch event.Type {
	case events.ContainerEventType:
		rendered.From = event.Actor.Attributes["image"]
		fallthrough
	case events.ImageEventType:
		rendered.Status, rendered.ID = string(event.Action), event.Actor.ID
	default:
	}
	return rendered
}

// An eventQuery is what a client wants to see.
type eventQuery struct {
	since, until time.Time // zero: from now, without end
	filters      control.Filters
}

func eventQueryOf(r *http.Request) (eventQuery, error) {
	query := queryOf(r)
	var wanted eventQuery
	var err error
	if wanted.since, err = parseTimestamp(query.Get("since")); err != nil {
		return eventQuery{}, badRequest("invalid value for since: %v", err)
	}
	if wanted.until, err = parseTimestamp(query.Get("until")); err != nil {
		return eventQuery{}, badRequest("invalid value for until: %v", err)
	}
	if !wanted.until.IsZero() && wanted.until.Before(wanted.since) {
		return eventQuery{}, badRequest("`since` time (%s) cannot be after `until` time (%s)", query.Get("since"), query.Get("until"))
	}
	if wanted.filters, err = filtersOf(query); err != nil {
		return eventQuery{}, err
	}
	return wanted, knownFilters(wanted.filters, "type", "event", "service", "node", "secret", "config", "network",
		"scope", "label", "container", "image", "volume", "plugin", "daemon")
}

// wants reports whether an event passes the filters and the times.
func (q eventQuery) wants(event events.Message) bool {
	at := time.Unix(0, event.TimeNano)
	if at.Before(q.since) || !q.until.IsZero() && at.After(q.until) {
		return false
	}
	return eventMatches(event, q.filters)
}

func eventMatches(event events.Message, filters control.Filters) bool {
	is := func(value string) func(string) bool { return func(want string) bool { return want == value } }
	if !anyOf(filters["type"], is(string(event.Type))) || !anyOf(filters["scope"], is(event.Scope)) {
		return false
	}
	if !anyOf(filters["event"], func(want string) bool { return actionIs(string(event.Action), want) }) {
		return false
	}
	if !labelled(event.Actor.Attributes, filters["label"]) {
		return false
	}
	for _, kind := range []string{"service", "node", "secret", "config", "network", "container", "volume", "plugin", "daemon"} {
		if !anyOf(filters[kind], func(want string) bool { return concerns(event, kind, want) }) {
			return false
		}
	}
	return anyOf(filters["image"], func(want string) bool { return concernsImage(event, want) })
}

// actionIs matches health_status with "health_status: healthy", and exec_start
// with "exec_start: sh".
func actionIs(action, want string) bool {
	short, _, _ := strings.Cut(action, ":")
	return action == want || short == want
}

// concerns reports whether an event is about the named object of a kind.
func concerns(event events.Message, kind, want string) bool {
	if string(event.Type) != kind || want == "" {
		return false
	}
	return strings.HasPrefix(event.Actor.ID, want) || event.Actor.Attributes["name"] == strings.TrimPrefix(want, "/")
}

// concernsImage takes the image of a container for its own, with or without tag.
func concernsImage(event events.Message, want string) bool {
	names := []string{}
	switch event.Type {
	case events.ImageEventType:
		names = []string{event.Actor.ID, event.Actor.Attributes["name"]}
	case events.ContainerEventType:
		names = []string{event.Actor.Attributes["image"]}
	default:
	}
	return slices.ContainsFunc(names, func(name string) bool { return name == want || withoutTag(name) == want })
}

// withoutTag cuts the tag off a name; the port of a registry is not a tag.
func withoutTag(name string) string {
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		return name[:i]
	}
	return name
}

// streamEvents sends what was kept since ?since=, then what happens, until
// ?until= or the client leaves. The header goes out at once.
func (s *Server) streamEvents(w http.ResponseWriter, r *http.Request) error {
	query, err := eventQueryOf(r)
	if err != nil {
		return err
	}
	kept, watcher, err := s.events.watch()
	if err != nil {
		return err
	}
	defer s.events.unwatch(watcher)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	controller := http.NewResponseController(w)
	encoder := encoderOf(w)

	if query.since.IsZero() {
		kept = nil
	}
	for _, event := range kept {
		if query.wants(event) && encoder.Encode(renderEvent(event)) != nil {
			return errGone
		}
	}
	var end <-chan time.Time
	if !query.until.IsZero() {
		timer := time.NewTimer(time.Until(query.until))
		defer timer.Stop()
		end = timer.C
	}
	for {
		if len(watcher.events) == 0 && controller.Flush() != nil {
			return errGone
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-end:
			return nil
		case event, ok := <-watcher.events:
			if !ok {
				return fail(http.StatusServiceUnavailable, "the client read events too slowly: more than %d waited for it", eventsQueuedMax)
			}
			if query.wants(event) && encoder.Encode(renderEvent(event)) != nil {
				return errGone
			}
		}
	}
}
