//! The protocols that promise "exactly once", as small models whose every course of events is
//! gone through: runs that are killed at any step, a manager that goes on meanwhile, and a person.
//!
//! The steps have the names that the code gives them (`step("planned")`, ...), at which the machine
//! tests kill the real programs. A model shows that the order of the steps is right; the machine
//! tests show that the code has that order. Each model is also gone through with one step left out or
//! in another place, and must notice that.

#[path = "model/alerts.rs"]
mod alerts;
#[path = "model/requests.rs"]
mod requests;
#[path = "model/spawns.rs"]
mod spawns;
