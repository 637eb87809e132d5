//! How the group commit and the group reads gather those who wait.

use tokio::sync::mpsc;

/// Waits for somebody who asks, and takes along whoever else comes while all that is ready to run has its turn: nobody
/// waits for that when nothing else is going on, and under load the groups are larger. False when nobody can ask any
/// more.
pub(super) async fn gather<T>(asking: &mut mpsc::Receiver<T>, group: &mut Vec<T>, most: usize) -> bool {
    if asking.recv_many(group, most).await == 0 {
        return false;
    }
    loop {
        tokio::task::yield_now().await;
        let before = group.len();
        while group.len() < most
            && let Ok(another) = asking.try_recv()
        {
            group.push(another);
        }
        if group.len() == before || group.len() == most {
            return true;
        }
    }
}
