package gateway

import (
	"fmt"
	"math"
	"sync"

	"github.com/oz-platform/cloudagents/task"
)

// maxBudgetUSD bounds a money limit; sums in pico-dollars stay within int64.
const maxBudgetUSD = 1_000_000

// Budget limits what a run may spend on models. The zero value sets no limit.
type Budget struct {
	// MaxTokens limits all tokens together, cached ones included. 0: no limit.
	MaxTokens int64
	// MaxUSD limits the money. 0: no limit. With a limit, a model without a
	// price is refused, because nothing would stop it.
	MaxUSD float64
	// SpentTokens and SpentUSD were spent before this gateway was made: by
	// earlier executions of the run.
	SpentTokens int64
	SpentUSD    float64
}

func (b Budget) validate() error {
	if b.MaxTokens < 0 || b.SpentTokens < 0 {
		return fmt.Errorf("budget: tokens must not be negative")
	}
	for _, usd := range []float64{b.MaxUSD, b.SpentUSD} {
		if math.IsNaN(usd) || usd < 0 || usd > maxBudgetUSD {
			return fmt.Errorf("budget: %v USD is not between 0 and %d", usd, maxBudgetUSD)
		}
	}
	return nil
}

// Reservation is what a call may use at most.
type Reservation struct {
	// Call names the call: its number. A call that goes on to a fallback asks
	// again under the same name.
	Call string
	// Tokens are all of the call's.
	Tokens int64
	// USD is their price; Priced is false when it is not known.
	USD    float64
	Priced bool
}

// amount is something reserved or spent.
type amount struct {
	tokens int64
	money  pico
}

// ledger keeps a Budget. What is reserved counts as spent until it is settled,
// so that calls at the same time cannot promise the same remainder twice.
type ledger struct {
	maxTokens int64
	maxMoney  pico

	mu       sync.Mutex
	spent    amount
	reserved amount
}

func newLedger(b Budget) *ledger {
	return &ledger{
		maxTokens: b.MaxTokens,
		maxMoney:  picoOf(b.MaxUSD),
		spent:     amount{b.SpentTokens, picoOf(b.SpentUSD)},
	}
}

// reserve takes a from the remainder, or says why it cannot.
func (l *ledger) reserve(a amount) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	used := amount{l.spent.tokens + l.reserved.tokens, l.spent.money + l.reserved.money}
	if l.maxTokens > 0 && used.tokens+a.tokens > l.maxTokens {
		return task.Errorf(task.CodeBudgetExceeded, "the call may use up to %d tokens and %d of the run's budget of %d are left%s; raise the budget or ask for fewer output tokens",
			a.tokens, max(0, l.maxTokens-used.tokens), l.maxTokens, l.held(l.reserved.tokens > 0))
	}
	if l.maxMoney > 0 && used.money+a.money > l.maxMoney {
		return task.Errorf(task.CodeBudgetExceeded, "the call may cost up to %s and %s of the run's budget of %s are left%s; raise the budget, ask for fewer output tokens or use a cheaper model",
			dollars(a.money), dollars(max(0, l.maxMoney-used.money)), dollars(l.maxMoney), l.held(l.reserved.money > 0))
	}
	l.reserved.tokens += a.tokens
	l.reserved.money += a.money
	return nil
}

func (l *ledger) held(some bool) string {
	if some {
		return " beside what other calls hold"
	}
	return ""
}

// settle gives back a reservation and books what was used instead.
func (l *ledger) settle(reserved, used amount) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved.tokens -= reserved.tokens
	l.reserved.money -= reserved.money
	l.spent.tokens += used.tokens
	l.spent.money += used.money
}

// total is what was spent, without what is reserved.
func (l *ledger) total() amount {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.spent
}

func dollars(p pico) string { return fmt.Sprintf("$%.4f", p.usd()) }
