// Package process runs whole updates in processes of their own. It kills them
// with SIGKILL at random moments and starts them again, and counts how they
// end, what they fetch twice and what their reports' receiver hears; and it
// measures their memory. It is tests only: `make crash` and `make bench`.
package process
