// Package e2e holds tests of the whole: real servers and runners as processes,
// real git repositories, a scripted model behind the real protocol. They kill
// processes at every named crash point and look for traces of secrets in
// everything that was stored, sent or pushed.
package e2e
