//! What one subscriber has received from each sender, compared with what it must have received.

/// What was expected, and what was seen instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) expected: String,
    pub(crate) seen: String,
}

fn wrong<T>(expected: impl Into<String>, seen: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        expected: expected.into(),
        seen: seen.into(),
    })
}

/// Where a stretch of each sender's numbers begins or ends, as far as that can be known while it
/// sends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    /// The sends of all numbers below had returned before the edge.
    pub(crate) low: Vec<u64>,
    /// The sends of the numbers from here on began after the edge.
    pub(crate) high: Vec<u64>,
}

impl Edge {
    /// The edge was not after `other`: what was sent later than that counts for nothing.
    pub(crate) fn not_after(&mut self, other: &Edge) {
        for (mine, others) in self.low.iter_mut().zip(&other.low) {
            *mine = (*mine).min(*others);
        }
    }

    /// Only these senders count: as if the others never sent.
    pub(crate) fn only(mut self, counts: impl Fn(usize) -> bool) -> Self {
        for sender in (0..self.low.len()).filter(|&sender| !counts(sender)) {
            self.low[sender] = 0;
            self.high[sender] = 0;
        }
        self
    }

    /// Nothing need have been seen up to this edge.
    pub(crate) fn forget_low(&mut self) {
        self.low.fill(0);
    }
}

/// How a subscriber may miss values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Not at all.
    Never,
    /// It is told how many, before the next value.
    Told,
    /// Its figures tell, in the end.
    Silent,
}

/// The account of one subscriber.
#[derive(Debug)]
pub(crate) struct Account {
    loss: Loss,
    start: Edge,
    /// The number after the last one seen, of each sender.
    next: Vec<Option<u64>>,
    received: u64,
    told: u64,
    /// Numbers that were passed over without an excuse.
    gaps: u64,
}

impl Account {
    pub(crate) fn new(loss: Loss, start: Edge) -> Self {
        Self {
            loss,
            next: vec![None; start.low.len()],
            start,
            received: 0,
            told: 0,
            gaps: 0,
        }
    }

    pub(crate) fn loss(&self) -> Loss {
        self.loss
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    /// A value came. `excused` says which numbers may be missing though nothing was missed for want
    /// of room.
    pub(crate) fn receive(
        &mut self,
        sender: usize,
        number: u64,
        excused: impl Fn(usize, u64) -> bool,
    ) -> Result<(), Wrong> {
        let Some(next) = self.next.get_mut(sender) else {
            return wrong(
                "a value of a sender that exists",
                format!("sender {sender}"),
            );
        };
        let from = match *next {
            Some(next) if number < next => {
                return wrong(
                    format!("number {next} or later of sender {sender}"),
                    format!("{number}: twice, or in the wrong order"),
                );
            }
            Some(next) => next,
            None if number < self.start.low[sender] => {
                return wrong(
                    format!(
                        "of sender {sender} nothing before {}",
                        self.start.low[sender]
                    ),
                    format!("{number}, sent before it had subscribed"),
                );
            }
            None => self.start.high[sender],
        };
        *next = Some(number + 1);
        self.received += 1;
        let gap = (from..number)
            .filter(|&missing| !excused(sender, missing))
            .count() as u64;
        self.gaps += gap;
        match self.loss {
            Loss::Never if gap > 0 => wrong(
                format!(
                    "number {from} of sender {sender} after {} received",
                    self.received - 1
                ),
                format!("{number}, and {gap} between are missing without an excuse"),
            ),
            Loss::Told if self.gaps > self.told => wrong(
                format!("at most {} values missing, as it was told", self.told),
                format!(
                    "{} are, up to number {number} of sender {sender}",
                    self.gaps
                ),
            ),
            _ => Ok(()),
        }
    }

    /// A value was received, but the clone that would have shown its number panicked.
    pub(crate) fn receive_unseen(&mut self) {
        self.received += 1;
    }

    /// It was told that it missed so many.
    pub(crate) fn miss(&mut self, count: u64) -> Result<(), Wrong> {
        self.told += count;
        if self.loss == Loss::Told && count > 0 {
            Ok(())
        } else {
            wrong(
                format!("no miss to be told of ({:?})", self.loss),
                format!("Lagged({count})"),
            )
        }
    }

    /// Nothing more will come. `lost` is how many it missed by its figures, whatever the reason.
    pub(crate) fn finish(
        &self,
        end: &Edge,
        lost: u64,
        excused: impl Fn(usize, u64) -> bool,
    ) -> Result<(), Wrong> {
        let mut trailing = 0;
        for (sender, next) in self.next.iter().enumerate() {
            let high = end.high[sender];
            if next.is_some_and(|next| next > high) {
                return wrong(
                    format!("nothing of sender {sender} from {high} on, sent after its end"),
                    format!("{}", next.unwrap_or_default() - 1),
                );
            }
            let from = next.unwrap_or(self.start.high[sender]);
            let missing = (from..end.low[sender]).filter(|&number| !excused(sender, number));
            let missing = missing.count() as u64;
            if self.loss == Loss::Never && missing > 0 {
                return wrong(
                    format!(
                        "of sender {sender} everything up to {}",
                        end.low[sender] - 1
                    ),
                    format!("{missing} missing from {from} on"),
                );
            }
            trailing += missing;
        }
        if self.loss != Loss::Never && self.gaps + trailing > lost {
            return wrong(
                format!("at most {lost} missing, by its figures"),
                format!("{}", self.gaps + trailing),
            );
        }
        let senders = 0..self.next.len();
        let least = senders
            .clone()
            .map(|s| end.low[s].saturating_sub(self.start.high[s]));
        let most = senders.map(|s| end.high[s].saturating_sub(self.start.low[s]));
        let (least, most): (u64, u64) = (least.sum(), most.sum());
        let seen = self.received + lost;
        if least <= seen && seen <= most {
            Ok(())
        } else {
            wrong(
                format!("received + missed from {least} to {most}"),
                format!("{} + {lost} = {seen}", self.received),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Edge, Loss};

    fn never(_: usize, _: u64) -> bool {
        false
    }

    fn edge(low: &[u64], high: &[u64]) -> Edge {
        Edge {
            low: low.to_vec(),
            high: high.to_vec(),
        }
    }

    fn exact(at: u64) -> Edge {
        edge(&[at], &[at])
    }

    #[test]
    fn each_sender_is_followed_by_itself() {
        let mut account = Account::new(Loss::Never, edge(&[0, 5], &[0, 7]));
        for (sender, number) in [(0, 0), (1, 6), (0, 1), (1, 7)] {
            account.receive(sender, number, never).unwrap();
        }
        assert!(account.receive(0, 3, never).is_err());
        account.finish(&edge(&[2, 8], &[4, 8]), 0, never).unwrap();
        assert!(account.receive(2, 0, never).is_err());
    }

    #[test]
    fn the_first_value_is_from_the_edge() {
        let start = edge(&[5], &[7]);
        let first = |number| Account::new(Loss::Never, start.clone()).receive(0, number, never);
        for number in 5..=7 {
            first(number).unwrap();
        }
        assert!(first(4).is_err() && first(8).is_err());
    }

    #[test]
    fn twice_and_backwards_are_found() {
        for number in [3, 2] {
            let mut account = Account::new(Loss::Told, exact(0));
            account.miss(9).unwrap();
            account.receive(0, 3, never).unwrap();
            assert!(account.receive(0, number, never).is_err());
        }
    }

    #[test]
    fn an_excuse_is_for_one_number() {
        let excused = |_, number| number == 0 || number == 2;
        let mut account = Account::new(Loss::Never, exact(0));
        account.receive(0, 1, excused).unwrap();
        account.receive(0, 3, excused).unwrap();
        account.finish(&exact(4), 2, excused).unwrap();
        assert!(account.receive(0, 5, excused).is_err());
    }

    #[test]
    fn a_gap_must_have_been_told_of() {
        let after = |told| {
            let mut account = Account::new(Loss::Told, exact(0));
            account.miss(told).unwrap();
            account.receive(0, 3, never).map(|()| account)
        };
        assert!(after(2).is_err());
        after(3).unwrap().finish(&exact(4), 3, never).unwrap();
        // One too many is found in the end.
        assert!(after(4).unwrap().finish(&exact(4), 4, never).is_err());
        assert!(Account::new(Loss::Never, exact(0)).miss(1).is_err());
    }

    #[test]
    fn of_a_sender_that_does_not_count_nothing_may_come() {
        let [start, end] = [3, 5].map(|at| edge(&[at; 2], &[at; 2]).only(|sender| sender == 1));
        let mut account = Account::new(Loss::Never, start);
        account.receive(1, 3, never).unwrap();
        account.receive(1, 4, never).unwrap();
        account.finish(&end, 0, never).unwrap();
        let _ = account.receive(0, 4, never);
        assert!(account.finish(&end, 0, never).is_err());
    }

    #[test]
    fn what_is_missing_at_the_end_is_found() {
        let mut account = Account::new(Loss::Never, exact(0));
        account.receive(0, 0, never).unwrap();
        account.finish(&edge(&[1], &[3]), 0, never).unwrap();
        assert!(account.finish(&edge(&[2], &[3]), 0, never).is_err());
        assert!(account.finish(&edge(&[0], &[0]), 0, never).is_err());
        let silent = Account::new(Loss::Silent, exact(0));
        silent.finish(&exact(3), 3, never).unwrap();
        assert!(silent.finish(&exact(3), 2, never).is_err());
        assert!(silent.finish(&exact(3), 4, never).is_err());
    }
}
