package script

// try reads a command that may well be refused, such as one of those that a random
// user asks for: what the swarm answers is noted, and is no failure.
func (p *parsing) try(r *reader) (deed, error) {
	do, err := p.instant(r)
	return func(p *player, done func(error)) {
		do(p, func(err error) {
			if err != nil && !isNobody(err) {
				p.stage.Note("refused:", err.Error())
				p.stage.Probe("a try was refused")
				err = nil
			}
			done(err)
		})
	}, err
}
