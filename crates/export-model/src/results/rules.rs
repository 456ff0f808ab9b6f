//! The rules of results by transition: those of [`export_core::rules::result`], unless a mutant
//! changes them.

use export_core::rules::result::{ResultCondition, ResultEffect, ResultRule, ResultTransition};

/// One rule for each transition.
#[derive(Clone, Debug)]
pub struct ResultRules([ResultRule; ResultTransition::ALL.len()]);

impl Default for ResultRules {
    fn default() -> Self {
        Self(ResultTransition::ALL.map(|transition| *transition.rule()))
    }
}

impl ResultRules {
    /// The rule of a transition.
    pub fn get(&self, transition: ResultTransition) -> &ResultRule {
        &self.0[position(transition)]
    }

    /// Drops a condition.
    ///
    /// # Panics
    ///
    /// If the rule has no such condition, because then the mutant is none.
    #[must_use]
    pub fn without(mut self, transition: ResultTransition, condition: ResultCondition) -> Self {
        let rule = &mut self.0[position(transition)];
        assert!(rule.when.contains(&condition), "{transition:?} has no {condition:?}");
        rule.when = rule.when.iter().copied().filter(|other| *other != condition).collect::<Vec<_>>().leak();
        self
    }

    /// Drops an effect.
    ///
    /// # Panics
    ///
    /// If the rule has no such effect, because then the mutant is none.
    #[must_use]
    pub fn without_effect(mut self, transition: ResultTransition, effect: ResultEffect) -> Self {
        let rule = &mut self.0[position(transition)];
        assert!(rule.then.contains(&effect), "{transition:?} has no {effect:?}");
        rule.then = rule.then.iter().copied().filter(|other| *other != effect).collect::<Vec<_>>().leak();
        self
    }
}

fn position(transition: ResultTransition) -> usize {
    let position = ResultTransition::ALL.iter().position(|other| *other == transition);
    position.expect("ALL lists every transition")
}
