//! Dialogues over real sockets: with a peer that follows a script, and with servers that others wrote.

mod dialogue;
mod group;
mod meaning;
mod peer;
mod pool;
mod real;
mod reload;
mod round_trips;
mod sign_in;
mod tls;
mod trouble;
