// Package crash kills real update processes with SIGKILL at random moments and
// starts them again, and counts how they end, what they fetch twice and what
// their reports' receiver hears. It is a test only: `make crash`.
package crash
