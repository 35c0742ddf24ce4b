// Package script is the language of scenarios: a swarm, what its users ask of it,
// what goes wrong, and what must hold, as text that reads as one would type it.
//
//	# A manager that leads is lost. No container notices.
//	swarm --managers 3 --workers 3
//	service create --name website --replicas 5 nginx:alpine
//	await 30s website 5/5
//	crash leader
//	check converged
//
// The grammar is told in scenarios/README.md. [Parse] reads a scenario, [Play]
// plays it on a [Stage]: a world that the commands can be carried out in. [NewModel]
// makes the stage of the simulated world in one thread. What the docker CLI's own
// commands ask for is for a [Parser] to say, which this package does not have.
//
// A scenario whose every line holds proves nothing about other seeds; nor is
// anything said about time that a machine really takes.
package script
