//! Faults to order, around any store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::directory::Leftover;
use super::{Attempt, Call, Key, Object, Store, StoreError};

/// A store around another that fails as it was told to. Clones share their faults and their record of calls.
///
/// ```
/// # use terrarium_s3::{Call, Fault, Faulty, Key, MemoryStore, Store, StoreError};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = Faulty::new(MemoryStore::new());
/// store.inject(Fault::lost_reply(Call::Create).nth(2).matching("streams/"));
///
/// let (one, two) = (Key::new("streams/1")?, Key::new("streams/2")?);
/// assert!(store.create(&one, "a".into()).await.is_ok());
/// assert!(matches!(store.create(&two, "b".into()).await, Err(StoreError::Unavailable { .. })));
/// assert!(store.inner().get(&two).is_some(), "only the reply was lost");
/// # Ok::<(), terrarium_s3::InvalidKey>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    inner: S,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    calls: Vec<(Call, String)>,
    running: usize,
    most_at_once: usize,
}

impl<S> Faulty<S> {
    /// A store without faults yet.
    pub fn new(inner: S) -> Self {
        let state = Arc::default();
        Self { inner, state }
    }

    /// The store within.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Adds a fault. Of several that match a call, the one added first strikes.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// All calls so far, in order, with the key or the prefix.
    pub fn calls(&self) -> Vec<(Call, String)> {
        self.lock().calls.clone()
    }

    /// How many calls of a kind there were.
    pub fn count(&self, call: Call) -> usize {
        self.lock()
            .calls
            .iter()
            .filter(|(made, _)| *made == call)
            .count()
    }

    /// The greatest number of calls that ran at once.
    pub fn most_at_once(&self) -> usize {
        self.lock().most_at_once
    }

    fn begin(&self, call: Call, name: &str) -> (Running<'_, S>, Option<Effect>) {
        let mut state = self.lock();
        state.calls.push((call, name.into()));
        state.running += 1;
        state.most_at_once = state.most_at_once.max(state.running);
        let effect = state
            .faults
            .iter_mut()
            .find_map(|fault| fault.strikes(call, name));
        (Running(self), effect)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What goes wrong, with which call, and when. It strikes once, at the first call that matches, unless told otherwise.
#[derive(Clone, Debug)]
pub struct Fault {
    call: Call,
    part_of_name: String,
    before: usize,
    times: usize,
    effect: Effect,
}

#[derive(Clone, Debug)]
enum Effect {
    Drop,
    LoseReply,
    Deny,
    NoSpace,
    Damage(usize),
    CutOff(usize),
    Vanish,
    Delay(Duration),
}

impl Fault {
    /// The connection breaks before the store has done anything.
    pub fn dropped(call: Call) -> Self {
        Self::of(call, Effect::Drop)
    }

    /// The store does as asked, but its reply is lost: the caller sees a broken connection.
    pub fn lost_reply(call: Call) -> Self {
        Self::of(call, Effect::LoseReply)
    }

    /// The store does not allow it.
    pub fn denied(call: Call) -> Self {
        Self::of(call, Effect::Deny)
    }

    /// The store is full: creating fails.
    pub fn no_space() -> Self {
        Self::of(Call::Create, Effect::NoSpace)
    }

    /// A read gives a body in which one bit at `offset` (modulo the length) differs.
    pub fn damaged(offset: usize) -> Self {
        Self::of(Call::Read, Effect::Damage(offset))
    }

    /// A read gives the first `length` bytes only, and says nothing.
    pub fn truncated(length: usize) -> Self {
        Self::of(Call::Read, Effect::CutOff(length))
    }

    /// The object is deleted just before the call.
    pub fn vanished(call: Call) -> Self {
        Self::of(call, Effect::Vanish)
    }

    /// The call takes this much longer.
    pub fn delayed(call: Call, by: Duration) -> Self {
        Self::of(call, Effect::Delay(by))
    }

    /// Strikes at the `nth` call that matches, counted from 1.
    pub fn nth(self, nth: usize) -> Self {
        let before = nth.saturating_sub(1);
        Self { before, ..self }
    }

    /// Strikes that many calls in a row.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Strikes from then on.
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    /// Strikes only where the key, or the prefix, has this in it.
    pub fn matching(self, part_of_name: impl Into<String>) -> Self {
        let part_of_name = part_of_name.into();
        Self {
            part_of_name,
            ..self
        }
    }

    fn of(call: Call, effect: Effect) -> Self {
        Self {
            call,
            part_of_name: String::new(),
            before: 0,
            times: 1,
            effect,
        }
    }

    fn strikes(&mut self, call: Call, name: &str) -> Option<Effect> {
        if call != self.call || !name.contains(&self.part_of_name) {
            return None;
        }
        if self.before > 0 {
            self.before -= 1;
            return None;
        }
        if self.times == 0 {
            return None;
        }
        self.times = self.times.saturating_sub(1);
        Some(self.effect.clone())
    }
}

/// A call under way; one that is cancelled counts as ended.
struct Running<'a, S>(&'a Faulty<S>);

impl<S> Drop for Running<'_, S> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

const PLACE: &str = "a store with faults";

impl Effect {
    /// Waits, or fails before the store is asked.
    async fn before(effect: &Option<Self>, attempt: &Attempt) -> Result<(), StoreError> {
        let attempt = attempt.clone();
        match effect {
            Some(Self::Drop) => Err(StoreError::Unavailable {
                attempt,
                detail: "connection dropped".into(),
            }),
            Some(Self::Deny) => Err(StoreError::Denied {
                attempt,
                detail: "AccessDenied".into(),
            }),
            Some(Self::NoSpace) => Err(StoreError::NoSpace {
                attempt,
                detail: "full".into(),
            }),
            Some(Self::Delay(by)) => {
                tokio::time::sleep(*by).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What arrives of an answer.
    fn after<T>(
        effect: &Option<Self>,
        attempt: Attempt,
        answer: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match effect {
            Some(Self::LoseReply) => Err(StoreError::Unavailable {
                attempt,
                detail: "reply lost".into(),
            }),
            _ => answer,
        }
    }
}

impl<S: Store> Faulty<S> {
    async fn with<T>(
        &self,
        call: Call,
        key: &Key,
        ask: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<(T, Option<Effect>), StoreError> {
        let (_running, effect) = self.begin(call, key.as_str());
        let attempt = Attempt::on(call, key, PLACE);
        Effect::before(&effect, &attempt).await?;
        if let Some(Effect::Vanish) = effect {
            self.inner.delete(key).await?;
        }
        let answer = Effect::after(&effect, attempt, ask.await)?;
        Ok((answer, effect))
    }
}

fn spoiled(body: Bytes, effect: Option<Effect>) -> Bytes {
    match effect {
        Some(Effect::Damage(offset)) if !body.is_empty() => {
            let mut damaged = body.to_vec();
            let offset = offset % damaged.len();
            damaged[offset] ^= 1;
            damaged.into()
        }
        Some(Effect::CutOff(length)) => body.slice(..length.min(body.len())),
        _ => body,
    }
}

impl<S: Store> Store for Faulty<S> {
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let ask = self.inner.create(key, body);
        self.with(Call::Create, key, ask).await.map(|_| ())
    }

    async fn read(&self, key: &Key) -> Result<Bytes, StoreError> {
        let (body, effect) = self.with(Call::Read, key, self.inner.read(key)).await?;
        Ok(spoiled(body, effect))
    }

    async fn read_range(&self, key: &Key, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let ask = self.inner.read_range(key, offset, length);
        let (body, effect) = self.with(Call::Read, key, ask).await?;
        Ok(spoiled(body, effect))
    }

    async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        Ok(self.with(Call::Size, key, self.inner.size(key)).await?.0)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let (_running, effect) = self.begin(Call::List, prefix);
        let attempt = Attempt::listing(prefix, PLACE);
        Effect::before(&effect, &attempt).await?;
        Effect::after(&effect, attempt, self.inner.list(prefix).await)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let ask = self.inner.delete(key);
        self.with(Call::Delete, key, ask).await.map(|_| ())
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        self.inner.leftovers().await
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<(), StoreError> {
        self.inner.remove_leftover(leftover).await
    }
}
