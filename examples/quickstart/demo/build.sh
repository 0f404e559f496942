#!/bin/sh
# Makes tally.bundle, the small Go repository that the quickstart works on: six
# commits of history, the last of which breaks a test. Run it from this
# directory after a change here; the result is committed.
set -eu
out=$PWD/tally.bundle
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
git init -q -b main
git config user.name "Ada Tally"
git config user.email ada@example.com
git config commit.gpgsign false

day=1
commit() {
	git add -A
	when="2026-03-0${day}T09:00:00Z"
	GIT_AUTHOR_DATE=$when GIT_COMMITTER_DATE=$when git commit -q -m "$1"
	day=$((day + 1))
}

cat >go.mod <<'E'
module example.com/tally

go 1.21
E
cat >README.md <<'E'
# tally

Shares amounts of money between people without losing a cent.
E
cat >AGENTS.md <<'E'
# For agents

- Run `go test ./...` before you commit.
- Keep changes small, and say in the commit message why they are needed.
E
commit "Start the module"

cat >money.go <<'E'
// Package tally shares amounts of money without losing a cent.
package tally

import "fmt"

// Cents is an amount of money in hundredths of its currency.
type Cents int64

// String gives the amount with two decimals, such as "-12.05".
func (c Cents) String() string {
	sign := ""
	if c < 0 {
		sign, c = "-", -c
	}
	return fmt.Sprintf("%s%d.%02d", sign, c/100, c%100)
}
E
cat >money_test.go <<'E'
package tally

import "testing"

func TestString(t *testing.T) {
	for in, want := range map[Cents]string{0: "0.00", 5: "0.05", 1234: "12.34", -1205: "-12.05"} {
		if got := in.String(); got != want {
			t.Errorf("Cents(%d).String() = %q, want %q", int64(in), got, want)
		}
	}
}
E
commit "Add Cents and its decimal form"

cat >split.go <<'E'
package tally

// Split shares total between n people. The shares differ by a cent at most,
// larger ones first, and add up to total.
func Split(total Cents, n int) []Cents {
	shares := make([]Cents, n)
	base, rest := total/Cents(n), total%Cents(n)
	for i := range shares {
		shares[i] = base
		if Cents(i) < rest {
			shares[i]++
		}
	}
	return shares
}
E
cat >split_test.go <<'E'
package tally

import "testing"

func sum(shares []Cents) Cents {
	var total Cents
	for _, s := range shares {
		total += s
	}
	return total
}

func TestSplitIsFair(t *testing.T) {
	shares := Split(1000, 3)
	for i, want := range []Cents{334, 333, 333} {
		if shares[i] != want {
			t.Errorf("share %d is %s, want %s", i, shares[i], want)
		}
	}
}
E
commit "Split an amount evenly"

cat >ledger.go <<'E'
package tally

import "sort"

// Ledger keeps what each person has paid and owes. The zero Ledger is empty.
type Ledger struct {
	balance map[string]Cents
}

// Pay books that payer paid total for all of people, the payer among them or not.
func (l *Ledger) Pay(payer string, total Cents, people ...string) {
	if l.balance == nil {
		l.balance = make(map[string]Cents)
	}
	l.balance[payer] += total
	for i, share := range Split(total, len(people)) {
		l.balance[people[i]] -= share
	}
}

// Balance is what a person gets back (positive) or still owes (negative).
func (l *Ledger) Balance(person string) Cents { return l.balance[person] }

// People lists everyone with a balance, in order.
func (l *Ledger) People() []string {
	people := make([]string, 0, len(l.balance))
	for p := range l.balance {
		people = append(people, p)
	}
	sort.Strings(people)
	return people
}
E
cat >ledger_test.go <<'E'
package tally

import "testing"

func TestLedgerBalances(t *testing.T) {
	var l Ledger
	l.Pay("ann", 3000, "ann", "bob", "cy")
	l.Pay("bob", 600, "ann", "bob")
	for person, want := range map[string]Cents{"ann": 1700, "bob": -700, "cy": -1000} {
		if got := l.Balance(person); got != want {
			t.Errorf("balance of %s is %s, want %s", person, got, want)
		}
	}
}
E
commit "Add a ledger of shared expenses"

cat >>README.md <<'E'

    var trip tally.Ledger
    trip.Pay("ann", 3000, "ann", "bob", "cy")
    fmt.Println(trip.Balance("ann")) // 20.00
E
commit "Show the ledger in the README"

# The regression: refunds are negative, and the remainder of a negative
# amount is negative too, so nobody gets it any more.
cat >>split_test.go <<'E'

func TestSplitKeepsEveryCent(t *testing.T) {
	for _, total := range []Cents{0, 1, 99, 1000, 12345, -1, -1000, -12345} {
		for n := 1; n <= 7; n++ {
			if got := sum(Split(total, n)); got != total {
				t.Errorf("Split(%s, %d) adds up to %s", total, n, got)
			}
		}
	}
}

func TestRefundIsFair(t *testing.T) {
	shares := Split(-1000, 3)
	for i, want := range []Cents{-334, -333, -333} {
		if shares[i] != want {
			t.Errorf("share %d of a refund is %s, want %s", i, shares[i], want)
		}
	}
}
E
commit "Test refunds: Split loses cents on negative totals"
git bundle create -q "$out" HEAD main
