//! Routes that are replaced while mails are sent: what goes on with its connections, what finishes, and how many connections
//! there are meanwhile.

use std::{slice::from_ref, sync::Arc, time::Duration};

use super::peer::{GREETING, MAIL, PIPELINING, Peer, script, send, settings};
use crate::{
    mail::AttemptOutcome,
    smtp::{ReplyRules, Route, RouteSettings, Routes},
};

const TAKEN: &str = "S: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\nS: 250 ok\n";

fn replace(routes: &Routes, settings: &[RouteSettings]) -> Vec<Arc<Route>> {
    routes.replace(routes.prepare(settings, ReplyRules::shipped()).unwrap())
}

async fn accepted(routes: &Routes, message: &str) {
    assert_eq!(send(&routes.all()[0], message).await.outcome, AttemptOutcome::Accepted);
}

#[tokio::test]
async fn a_changed_route_keeps_its_connections_unless_they_are_what_changed() {
    let two = script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, TAKEN, "C: QUIT\nS: 221 bye\n"]);
    let peer = Peer::play([two, script(&[GREETING, PIPELINING, MAIL, TAKEN])]).await;
    let before = settings(peer.port);
    let routes = Routes::new(from_ref(&before)).unwrap();
    accepted(&routes, "one").await;
    let heavier = RouteSettings { weight: 7, connections: 9, ..before };
    assert!(replace(&routes, from_ref(&heavier)).is_empty());
    assert_eq!((routes.status()[0].connections, routes.all()[0].preference().weight), (9, 7));
    accepted(&routes, "two").await;
    // The connection before says goodbye as soon as it is not needed any more.
    let patient = RouteSettings { timeout: Some(Duration::from_secs(9)), ..heavier };
    let over = replace(&routes, from_ref(&patient));
    accepted(&routes, "three").await;
    assert_eq!(peer.finish().await, ["one\r\n.\r\n", "two\r\n.\r\n", "three\r\n.\r\n"]);
    assert!(over.len() == 1 && over[0].is_at_rest());
}

#[tokio::test]
async fn a_mail_on_its_way_finishes_over_the_route_before_and_both_share_the_places() {
    let first = script(&[GREETING, PIPELINING, MAIL, "X: signal\n", TAKEN, "C: QUIT\nS: 221 bye\n"]);
    let peer = Peer::play([first]).await;
    let before = RouteSettings { connections: 1, ..settings(peer.port) };
    let routes = Routes::new(from_ref(&before)).unwrap();
    let held = routes.all()[0].permits(1).next().unwrap();
    let over = replace(&routes, &[RouteSettings { timeout: Some(Duration::from_secs(9)), ..before.clone() }]);
    assert_eq!((over.len(), routes.all()[0].permits(1).len()), (1, 0));
    drop(held);
    assert_eq!(routes.all()[0].permits(1).len(), 1);
    // One that is removed while its mail is on the way.
    let old = Routes::new(from_ref(&before)).unwrap();
    let route = Arc::clone(&old.all()[0]);
    let sending = tokio::spawn(async move { send(&route, "late").await });
    peer.signal().await;
    let over = replace(&old, &[]);
    assert_eq!((old.is_empty(), over[0].is_at_rest()), (true, false));
    assert_eq!(sending.await.unwrap().outcome, AttemptOutcome::Accepted);
    assert_eq!(peer.finish().await, ["late\r\n.\r\n"]);
}

#[tokio::test]
async fn a_route_that_cannot_work_leaves_all_as_they_were() {
    let routes = Routes::new(&[settings(25)]).unwrap();
    let before = routes.all();
    for wrong in [vec![settings(25), settings(26)], vec![settings(0)]] {
        assert!(routes.prepare(&wrong, ReplyRules::shipped()).is_err());
    }
    assert!(Arc::ptr_eq(&before, &routes.all()));
}
