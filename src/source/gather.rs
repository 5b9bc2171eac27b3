//! Many requests at once, but not too many, with their results in the order of the requests.

use std::future::Future;

use tokio::task::JoinSet;

/// Runs the tasks, at most `at_once` at a time. A result is `None` if its task panicked; dropping the future stops all.
pub(super) async fn gather<T, F>(tasks: Vec<F>, at_once: usize) -> Vec<Option<T>>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut results: Vec<Option<T>> = tasks.iter().map(|_| None).collect();
    let mut waiting = tasks.into_iter().enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < at_once.max(1)
            && let Some((place, task)) = waiting.next()
        {
            running.spawn(async move { (place, task.await) });
        }
        match running.join_next().await {
            Some(Ok((place, result))) => results[place] = Some(result),
            Some(Err(_panicked)) => {}
            None => return results,
        }
    }
}
