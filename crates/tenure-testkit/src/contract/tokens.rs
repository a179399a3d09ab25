//! Fencing tokens rise with every hold of a name and stay for as long as it lasts.

use tenure_core::Token;
use tenure_store::Stored;

use super::hand::{Hand, token};
use super::{Subject, Verdict, ensure};

pub(super) fn every_hold_gets_a_larger_token_and_keeps_it(subject: &Subject) -> Verdict {
    let (a, b) = (subject.hand("token")?, subject.hand("token")?);
    let mut last = Token::default();
    let mut stored = a.take(None)?;
    for _ in 0..3 {
        last = larger(&a, &stored, last)?;
        for _ in 0..3 {
            stored = a.renew(&stored)?;
            let kept = token(&stored)?;
            ensure!(kept == last, "a renewal turns token {last} into {kept}");
        }
        let taken_over = b.take(Some(&stored))?;
        last = larger(&b, &taken_over, last)?;
        stored = b.release(&taken_over, None)?;
        stored = a.take(Some(&stored))?;
        last = larger(&a, &stored, last)?;
        if a.store.capabilities().queue {
            stored = b.join(&stored)?;
            let next = stored.record.queue.front().map(|w| w.mark);
            stored = a.release(&stored, next)?;
            last = larger(&b, &stored, last)?;
        }
        stored = a.take(Some(&stored))?;
    }
    larger(&a, &stored, last).map(|_| ())
}

pub(super) fn tokens_rise_across_deletion(subject: &Subject) -> Verdict {
    let hand = subject.hand("reborn")?;
    let mut last = Token::default();
    for _ in 0..3 {
        let mut stored = hand.take(None)?;
        last = larger(&hand, &stored, last)?;
        for _ in 0..3 {
            stored = hand.take(Some(&stored))?;
            last = larger(&hand, &stored, last)?;
        }
        hand.deleted(&stored)?;
    }
    Ok(())
}

/// The token of a hold that has just begun, which a reader sees too.
fn larger(hand: &Hand, stored: &Stored, last: Token) -> Result<Token, String> {
    let (given, read) = (token(stored)?, token(&hand.stored()?)?);
    ensure!(given == read, "the holder is given token {given}, a reader sees {read}");
    ensure!(given > last, "token {given} follows {last}");
    Ok(given)
}
