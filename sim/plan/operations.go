package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// users draws what users ask for.
func (g *generator) users() {
	g.services = 1 + g.N(5)
	g.wants = map[string]bool{}
	for _, want := range g.some([]string{"ports", "placement", "resources", "restarts", "updates", "grace", "limit", "networks", "networks"}) {
		g.wants[want] = true
	}
	for _, line := range g.plan.Images {
		g.images = append(g.images, strings.Fields(line)[1])
	}
	g.images = slices.DeleteFunc(g.images, func(string) bool { return g.Chance(0.5) })
	kinds := g.some([]string{"create", "update", "update", "scale", "scale", "rm", "rollback", "node", "node rm", "swarm"})
	kinds = append(kinds, "update", "create")
	if g.wants["networks"] {
		kinds = append(kinds, "network")
		for i := range 1 + g.N(networksMax) {
			g.add(g.between(0, 2*time.Second), g.networkCreate(fmt.Sprintf("n%d", i+1)))
		}
	}
	count := 3 + g.N(operationsMax-2)
	every := g.calm / time.Duration(count)
	for i := range 1 + g.N(g.services) {
		g.add(g.between(0, 5*time.Second), g.create(fmt.Sprintf("s%d", i+1)))
	}
	if g.wants["restarts"] && g.Chance(0.5) { // attempts are more than what is kept
		g.add(g.between(0, 3*time.Second), "swarm update --task-history-limit "+g.pick("0", "1", "2"))
		g.images = append(g.images, "crash:1")
	}
	for i := range count {
		at := min(g.calm, time.Duration(i)*every+g.between(0, every)).Round(100 * time.Millisecond)
		g.add(at, g.operation(kinds[g.N(len(kinds))]))
	}
	if g.Chance(0.5) {
		line := fmt.Sprintf("clients %d for %v --think %s", 2+g.N(6), g.calm.Round(time.Second), g.pick("100ms", "300ms", "2s"))
		if g.Chance(0.7) {
			line += " --lose-answer 0.05 --lose-request 0.02"
		}
		g.plan.Events = append(g.plan.Events, Event{At: time.Second, Do: line})
	}
}

// add adds what a user types, on a manager that may or may not be well.
func (g *generator) add(at time.Duration, command string) {
	g.plan.Events = append(g.plan.Events, Event{At: at, Do: fmt.Sprintf("try on m%d: %s", 1+g.N(g.plan.Managers), command)})
}

func (g *generator) name() string { return fmt.Sprintf("s%d", 1+g.N(g.services)) }

func (g *generator) operation(kind string) string {
	switch kind {
	case "create":
		return g.create(g.name())
	case "update":
		return "service update" + g.changes() + " " + g.name()
	case "scale":
		return fmt.Sprintf("service scale %s=%d", g.name(), g.N(9))
	case "rm":
		return "service rm " + g.name()
	case "rollback":
		return "service rollback " + g.name()
	case "network":
		if g.Chance(0.5) {
			return "network rm " + g.network()
		}
		return g.networkCreate(g.network())
	case "node":
		return g.node()
	case "node rm":
		return g.nodeRemove()
	default: // swarm
		if g.Chance(0.5) {
			return "swarm update --task-history-limit " + g.pick("0", "1", "2", "5")
		}
		return "swarm update --dispatcher-heartbeat " + g.pick("1s", "3s", "5s", "15s")
	}
}

func (g *generator) node() string {
	hosts := g.plan.hosts()
	h := hosts[g.N(len(hosts))]
	if g.Chance(0.3) {
		return "node update --label-add zone=" + g.pick("a", "b") + " " + h
	}
	return "node update --availability " + g.pick("active", "active", "pause", "drain", "drain") + " " + h
}

// nodeRemove removes a worker, now and then; it stays broken for good.
func (g *generator) nodeRemove() string {
	if g.plan.Workers == 0 || len(g.removed) >= (g.plan.Workers+1)/2 || !g.Chance(0.3) {
		return g.node()
	}
	h := fmt.Sprintf("w%d", 1+g.N(g.plan.Workers))
	g.removed = append(g.removed, h)
	return "node rm --force " + h
}

// create is a service of some kind.
func (g *generator) create(name string) string {
	line := "service create --name " + name
	job := false
	switch g.N(9) {
	case 0, 1:
		line += " --mode global"
	case 2:
		line += fmt.Sprintf(" --mode replicated-job --replicas %d --max-concurrent %d", 1+g.N(6), 1+g.N(3))
		job = true
	case 3:
		line += " --mode global-job"
		job = true
	default:
		line += fmt.Sprintf(" --replicas %d", g.N(7))
		if g.wants["limit"] && g.Chance(0.4) {
			line += fmt.Sprintf(" --replicas-max-per-node %d", 1+g.N(2))
		}
	}
	dnsrr := !job && g.wants["networks"] && g.Chance(0.2)
	if dnsrr {
		line += " --endpoint-mode dnsrr"
	}
	if g.wants["ports"] && !job && !dnsrr {
		line += g.port("--publish")
	}
	if g.wants["networks"] && g.Chance(0.7) {
		line += g.attach("--network")
	}
	if g.wants["placement"] && g.Chance(0.5) {
		line += " --constraint " + g.constraint()
	}
	if g.wants["placement"] && g.Chance(0.2) {
		line += " --placement-pref spread=node.labels.zone"
	}
	if !job {
		line += g.policy()
	} else if g.wants["restarts"] {
		line += " --restart-condition " + g.pick("none", "on-failure")
	}
	image := g.image(job)
	if image == "healthy:1" || image == "flaky:1" {
		line += " --health-cmd true --health-interval 2s --health-timeout 1s --health-retries 5"
	}
	return line + g.tasks() + " " + image
}

func (g *generator) constraint() string {
	return g.pick("node.labels.zone==a", "node.labels.zone!=a", "node.role==manager", "node.role==worker")
}

func (g *generator) image(job bool) string {
	fitting := slices.DeleteFunc(slices.Clone(g.images), func(name string) bool {
		return strings.HasPrefix(name, "done") != job && (!job || name != "crash:1")
	})
	switch {
	case job && (len(fitting) == 0 || g.Chance(0.5)):
		return "done:1"
	case len(fitting) == 0 || g.Chance(0.5):
		return g.pick("good:1", "good:2")
	}
	return fitting[g.N(len(fitting))]
}

func (g *generator) port(flag string) string {
	switch g.N(6) {
	case 0, 1:
		return fmt.Sprintf(" %s published=%d,target=80", flag, 8080+g.N(3))
	case 2:
		return fmt.Sprintf(" %s published=%d,target=80,mode=host", flag, 9090+g.N(2))
	case 3:
		return fmt.Sprintf(" %s target=80,mode=host", flag)
	case 4:
		return fmt.Sprintf(" %s target=80", flag)
	}
	return ""
}

// networksMax is how many networks a plan has, beside that of published ports.
const networksMax = 3

func (g *generator) network() string { return fmt.Sprintf("n%d", 1+g.N(networksMax)) }

// networkCreate makes a network, now and then one with few addresses.
func (g *generator) networkCreate(name string) string {
	line := "network create --driver overlay"
	switch g.N(6) {
	case 0:
		line += fmt.Sprintf(" --subnet 10.%d.0.0/29", 50+g.N(3))
	case 1:
		line += " --subnet 10.60.0.0/24 --ip-range 10.60.0.64/28"
	case 2:
		line += " --ipv6 --subnet fd00:60::/64"
	}
	return line + " " + name
}

// attach puts a service on a network, or on two.
func (g *generator) attach(flag string) string {
	first := g.network()
	line := fmt.Sprintf(" %s %s", flag, g.pick(first, "name="+first+",alias=also"))
	if second := g.network(); second != first && g.Chance(0.3) {
		line += fmt.Sprintf(" %s %s", flag, second)
	}
	return line
}

// tasks draws what holds for the tasks of a service.
func (g *generator) tasks() string {
	line := ""
	if g.wants["resources"] && g.Chance(0.6) {
		line += " --reserve-cpu " + g.pick("0.25", "0.5", "1")
		if g.Chance(0.3) {
			line += " --reserve-memory " + g.pick("256M", "512M", "1G")
		}
	}
	if g.wants["grace"] && g.Chance(0.5) {
		line += " --stop-grace-period " + g.between(time.Second, 20*time.Second).String()
	}
	return line
}

// policy draws how tasks are restarted and updated.
func (g *generator) policy() string {
	line := ""
	if g.wants["restarts"] && g.Chance(0.7) {
		line += " --restart-condition " + g.pick("any", "any", "on-failure", "none")
		line += " --restart-delay " + g.pick("0s", "1s", "5s", "8s", "20s")
		if g.Chance(0.6) {
			line += " --restart-max-attempts " + g.pick("1", "2", "3", "5")
			if g.Chance(0.3) {
				line += " --restart-window " + g.pick("10s", "1m")
			}
		}
	}
	if !g.wants["updates"] {
		return line
	}
	for _, of := range []string{"update", "rollback"} {
		if g.Chance(0.3) {
			continue
		}
		action := g.pick("pause", "continue", "rollback")
		if of == "rollback" {
			action = g.pick("pause", "continue")
		}
		line += fmt.Sprintf(" --%s-parallelism %d --%s-order %s --%s-failure-action %s", of, g.N(4), of, g.pick("stop-first", "start-first"), of, action)
		line += fmt.Sprintf(" --%s-max-failure-ratio %s", of, g.pick("0", "0", "0.3", "0.6"))
		if g.Chance(0.5) {
			line += fmt.Sprintf(" --%s-delay %s", of, g.pick("1s", "3s", "10s"))
		}
		if g.Chance(0.5) {
			line += fmt.Sprintf(" --%s-monitor %s", of, g.pick("2s", "5s", "15s"))
		}
	}
	return line
}

// changes draws what an update changes: nearly always the tasks themselves.
func (g *generator) changes() string {
	g.revision++
	line := ""
	switch g.N(6) {
	case 0:
		line += " --force"
	case 1:
		line += " --image " + g.image(g.Chance(0.2))
	case 2:
		line += fmt.Sprintf(" --env-add REVISION=%d", g.revision)
	case 3:
		line += fmt.Sprintf(" --env-add REVISION=%d --image %s", g.revision, g.image(false))
	case 4:
		line += fmt.Sprintf(" --label-add revision=%d", g.revision)
	default:
		line += fmt.Sprintf(" --env-add REVISION=%d --replicas %d", g.revision, g.N(7))
	}
	if g.wants["ports"] && g.Chance(0.2) {
		line += g.port("--publish-add")
	}
	if g.wants["placement"] && g.Chance(0.2) {
		line += " --constraint-add " + g.constraint()
	}
	if g.wants["networks"] && g.Chance(0.4) {
		line += g.pick("", " --network-rm "+g.network()) + g.pick("", g.attach("--network-add"))
	}
	if g.Chance(0.3) {
		line += g.policy()
	}
	return line + g.tasks()
}
