// Package integration keeps what the integrations with other services share:
// their settings, their secrets, who of ours an account there is, and who may
// start runs from there.
//
// Whoever is not of the owner's team starts nothing by default, and gets an
// address to link their account with. Trust says otherwise: then others' runs
// get no secrets, or wait for a person.
package integration
