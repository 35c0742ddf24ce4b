// Package api serves the Docker Engine API over HTTP, so that the unmodified
// docker CLI works. It is the only place that knows API versions.
//
// A [Server] translates: requests about the swarm become control calls, posted
// through [Engine]; requests about this node's images and containers go to
// [Runtime]; answers are rendered in Docker's shapes. It decides nothing. What
// it checks itself is what is wrong before anybody could ask what was meant:
// versions, content types, JSON, query values, the form of filters.
//
// Everything Docker has and this does not is answered 501 with a sentence that
// says what to use instead; a path that Docker does not have is 404.
//
// Not guaranteed: that a client which reads too slowly sees every event (its
// stream ends, and says so in the log), and that an answer lost with its
// connection had no effect.
package api
