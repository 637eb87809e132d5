//! Hands a finished message to a relay over SMTP (RFC 5321) and reports what the relay said.
//!
//! [`Routes`] is made from the configuration, and replaced route by route when that is reloaded. A caller that has mails
//! chooses one of [`Routes::all`] and asks it for [`Route::permits`]; each leads over an open connection to one attempt. A
//! refusal, a lost connection and a time-out are all a [`Reply`](crate::mail::Reply) whose phase and outcome say what they mean
//! for the mail.
//!
//! | file | what it knows |
//! |---|---|
//! | `settings`, `route_error` | what an operator writes about a route, and whether it makes sense |
//! | `routes`, `route` | the routes, and what each is doing |
//! | `preference` | which mails a route takes, and how much it is preferred |
//! | `pool_permit`, `ready` | a slot, then a connection, then one attempt |
//! | `consequences` | what an answer stops, slows down, or lets go on |
//! | `shared` | what the routes of a process share |
//! | `pool`, `pooled`, `pool_slot`, `capacity` | which connections are open, who may use one, when they are closed |
//! | `opening`, `openers` | how a mail whose connection is slow to open takes one that comes free |
//! | `connection_queue`, `grouping` | which mail is next on a connection, and whether it is begun while the one before it is sent |
//! | `breaker` | whether a relay that was away, refused us, or got too much, may be tried again |
//! | `replies` | what a reply means, by readable rules |
//! | `pace` | how fast mails may go to who said that he gets too much |
//! | `transcript` | what was said, for operators |
//! | `dialer`, `hello_name` | from a host name to a connection that is ready for mail: connect, greeting, EHLO, STARTTLS, AUTH |
//! | `connection`, `open_count` | lines in, lines out, time-outs, and how many are open |
//! | `transaction` | MAIL, RCPT, DATA, the message and the final dot |
//! | `fence` | whether a mail may still be offered |
//! | `wire`, `capabilities`, `provider` | the formats, as pure functions |
//! | `attempt_error` | why an attempt or its connection failed, and the reply that this makes |
//! | `tuning` | time-outs and limits that no setting changes |
//! | `stream`, `tls`, `auth` | plain or encrypted bytes, whom we trust, how we sign in |
//!
//! Promises: a message is never accepted twice by our doing (a lost connection is tried anew only before the first byte
//! of the message, RFC 5321, section 4.5.4.1), a connection whose state is not known is never used again, and no password leaves over an
//! unencrypted connection unless the operator said `tls = "none"` or the relay is on this machine.

mod attempt_error;
mod auth;
mod breaker;
mod capabilities;
mod capacity;
mod connection;
mod connection_queue;
mod consequences;
mod dialer;
mod fence;
mod grouping;
mod hello_name;
mod open_count;
mod openers;
mod opening;
mod pace;
mod pool;
mod pool_permit;
mod pool_slot;
mod pooled;
mod preference;
mod provider;
mod ready;
mod replies;
mod route;
mod route_error;
mod routes;
mod settings;
mod shared;
mod stream;
mod tls;
mod transaction;
mod transcript;
mod tuning;
mod wire;

#[cfg(test)]
mod tests;

pub use breaker::{BreakerState, RouteFault};
pub use connection_queue::WaitingMail;
pub use fence::{Fence, Unfenced};
pub use hello_name::is_hello_name;
pub use pace::DomainPace;
pub use pool_permit::{PoolPermit, PoolPermits};
pub use preference::Preference;
pub use ready::{NotReady, Ready, Sent};
pub use replies::{JudgedBy, ReplyRules, RuleFault, RuleFaults, Said};
pub use route::{Route, RouteStatus};
pub use route_error::RouteError;
pub use routes::{NewRoutes, Routes};
pub use settings::{AuthMechanism, RouteSettings, TlsMode};
pub use tls::check_certificates;
pub use transaction::Envelope;
pub use tuning::{Timeouts, Tuning};
