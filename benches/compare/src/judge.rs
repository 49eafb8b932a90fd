//! From samples to rows: ratios inside each round, their median, and whether that is good enough.

use serde::Serialize;

use crate::contender::Role;
use crate::goals::{self, BEST_LENDER, COUNT_TOLERANCE, Goal, HIT_RATIO_LEAD, Limit, Question};
use crate::meter::Sample;
use crate::race::{Hits, Ran, Result, Unit};

/// One line of the report.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) variant: &'static str,
    pub(crate) ours_name: &'static str,
    pub(crate) ours: Option<f64>,
    pub(crate) rival: Option<f64>,
    pub(crate) rival_name: &'static str,
    pub(crate) unit: &'static str,
    /// The median of the ratios of the rounds, which is not the ratio of the medians.
    pub(crate) ratio: Option<f64>,
    pub(crate) goal: Option<f64>,
    /// What `goal` limits: the ratio, the difference (in `ours`), or the value itself.
    pub(crate) goal_on: &'static str,
    /// `null` where nothing was judged.
    pub(crate) pass: Option<bool>,
    pub(crate) stretch: bool,
    pub(crate) strict: bool,
    /// The middle half of the rounds' ratios, as a part of their median; of differences, in their unit.
    pub(crate) spread: Option<f64>,
    pub(crate) ours_resident: Option<usize>,
    pub(crate) rival_resident: Option<usize>,
    pub(crate) ours_hit_ratio: Option<f64>,
    pub(crate) rival_hit_ratio: Option<f64>,
    pub(crate) ours_cost: Option<Cost>,
    pub(crate) rival_cost: Option<Cost>,
    pub(crate) note: String,
    /// Why a goal is not judged is in `note`.
    #[serde(skip)]
    is_unfit: bool,
}

/// All that was measured of one contender, per operation, as medians.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) ns: f64,
    pub(crate) cycles: Option<f64>,
    pub(crate) instructions: Option<f64>,
    pub(crate) locked: Option<f64>,
}

impl Cost {
    fn of(samples: &[Sample]) -> Self {
        let each = |figure: fn(&Sample) -> Option<f64>| {
            samples.iter().map(figure).collect::<Option<Vec<_>>>().map(median)
        };
        Self {
            ns: median(samples.iter().map(|sample| sample.ns).collect()),
            cycles: each(|sample| sample.cycles),
            instructions: each(|sample| sample.instructions),
            locked: each(|sample| sample.locked),
        }
    }
}

/// Rows of a race: one per goal, then one for each rival without a goal.
pub(crate) fn race(result: &Result, has_counters: bool) -> Vec<Row> {
    let goals: Vec<&Goal> =
        result.question.goals.iter().filter(|goal| goal.variant == result.variant).collect();
    let judged = goals.iter().filter_map(|goal| Judge { result, has_counters }.goal(goal));
    let mut rows: Vec<Row> = judged.collect();
    let leading = goals.first().map_or("nanotier", |goal| goal.ours);
    for ran in result.ran.iter().filter(|ran| ran.role != Role::Ours) {
        let has_goal = goals.iter().any(|goal| goal.rival == ran.name && goal.ours == leading);
        if let Some(ours) = result.named(leading).filter(|_| !has_goal) {
            rows.push(Judge { result, has_counters }.against(ours, ran));
        }
    }
    rows
}

impl Result {
    fn named(&self, name: &str) -> Option<&Ran> {
        self.ran.iter().find(|ran| ran.name == name)
    }
}

#[derive(Clone, Copy)]
struct Judge<'r> {
    result: &'r Result,
    has_counters: bool,
}

impl Judge<'_> {
    /// `None` if a contender that the goal names did not run.
    fn goal(self, goal: &Goal) -> Option<Row> {
        let ours = self.result.named(goal.ours)?;
        let best = (goal.rival == BEST_LENDER).then(|| self.best(ours));
        let rival = match &best {
            Some(best) => best,
            None => self.result.named(goal.rival)?,
        };
        let mut row = Row {
            stretch: goal.is_stretch,
            strict: self.result.question.is_strict || goal.is_strict,
            ..self.against(ours, rival)
        };
        if let Limit::CyclesMore(limit) = goal.limit {
            self.judge_difference(&mut row, ours, rival, limit);
            return Some(row);
        }
        let limit = self.ratio_limit(goal.limit, rival);
        row.goal = Some(limit);
        row.goal_on = "ratio";
        row.pass = row.ratio.filter(|_| !row.is_unfit).map(|ratio| ratio <= limit);
        if matches!(goal.limit, Limit::RatioAndHits(_) | Limit::FacadeRatioAndHits(_)) {
            let lead = row.ours_hit_ratio.zip(row.rival_hit_ratio).map(|(ours, rival)| ours - rival);
            row.pass = row.pass.zip(lead).map(|(pass, lead)| pass && lead >= HIT_RATIO_LEAD);
        }
        Some(row)
    }

    /// The allowance in cycles is turned into a part of what the rival costs.
    fn ratio_limit(self, limit: Limit, rival: &Ran) -> f64 {
        let cost = Cost::of(&rival.samples);
        let rival_cycles =
            cost.cycles.unwrap_or_else(|| cost.ns * median(self.result.gigahertz.clone())).max(f64::EPSILON);
        match limit {
            Limit::Ratio(limit) | Limit::RatioAndHits(limit) => limit,
            Limit::RatioPlusCycles(limit, cycles) => limit + cycles / rival_cycles,
            Limit::FacadeRatio(limit) | Limit::FacadeRatioAndHits(limit) => {
                (limit * goals::FACADE_SLACK).max(limit + goals::FACADE_CYCLES / rival_cycles)
            }
            Limit::CyclesMore(_) | Limit::AtMost(_) => {
                unreachable!("not a limit on a ratio")
            }
        }
    }

    /// Without a goal.
    fn against(self, ours: &Ran, rival: &Ran) -> Row {
        let Result { question: &Question { id, .. }, variant, hits, .. } = *self.result;
        let rounds = rounds(ours, rival);
        let costs =
            |ran: &Ran| -> Vec<f64> { rounds.iter().map(|&round| self.cost(&ran.samples[round])).collect() };
        let cost = |ran: &Ran| median(costs(ran));
        let pairs = costs(ours).into_iter().zip(costs(rival));
        let ratios: Vec<f64> = pairs.map(|(ours, rival)| ours / rival).collect();
        let ratio = median(ratios.clone());
        let unfit = not_comparable(ours, rival, hits).or_else(|| disturbed(ours, rival));
        let is_share = hits == Hits::Some;
        let share = |ran: &Ran| mean(ran.samples.iter().map(|sample| sample.hits));
        let mut row = Row {
            id,
            variant,
            ours_name: ours.name,
            ours: Some(cost(ours)),
            rival: Some(cost(rival)),
            rival_name: rival.name,
            unit: if self.is_by_cycles() { "cycles" } else { "ns" },
            ratio: Some(ratio),
            spread: Some(middle_half(ratios) / ratio),
            ours_resident: ours.residents,
            rival_resident: rival.residents,
            ours_hit_ratio: is_share.then(|| share(ours)),
            rival_hit_ratio: is_share.then(|| share(rival)),
            ours_cost: Some(Cost::of(&ours.samples)),
            rival_cost: Some(Cost::of(&rival.samples)),
            note: self.notes(rival),
            is_unfit: unfit.is_some(),
            ..Row::default()
        };
        push_note(&mut row.note, &unfit.unwrap_or_default());
        row
    }

    fn judge_difference(self, row: &mut Row, ours: &Ran, rival: &Ran, limit: f64) {
        let cycles = |ran: &Ran, round: usize| {
            let sample = ran.samples[round];
            sample.cycles.unwrap_or(sample.ns * self.result.gigahertz[round])
        };
        let rounds = rounds(ours, rival);
        let differences: Vec<f64> =
            rounds.iter().map(|&round| cycles(ours, round) - cycles(rival, round)).collect();
        let difference = median(differences.clone());
        row.unit = "cycles more";
        row.ours = Some(difference);
        row.rival = None;
        row.ratio = None;
        row.spread = Some(middle_half(differences));
        row.goal = Some(limit);
        row.goal_on = "difference";
        row.pass = (!row.is_unfit).then_some(difference <= limit);
        if !self.has_counters || self.result.threads > 1 {
            let gigahertz = median(self.result.gigahertz.clone());
            push_note(&mut row.note, &format!("cycles from wall time at {gigahertz:.2} GHz"));
        }
    }

    /// The cheapest rival of each round, as one; its name is that of the one that was it most often.
    fn best(self, ours: &Ran) -> Ran {
        let rivals: Vec<&Ran> = self.result.ran.iter().filter(|ran| ran.role == Role::Rival).collect();
        let best_of = |round: usize| {
            let cost = |ran: &&&Ran| self.cost(&ran.samples[round]);
            *rivals.iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).expect("a rival lends")
        };
        let winners: Vec<&Ran> = (0..ours.samples.len()).map(best_of).collect();
        let wins = |ran: &&&Ran| winners.iter().filter(|winner| winner.name == ran.name).count();
        let most = *rivals.iter().max_by_key(wins).expect("a rival lends");
        let samples = winners.iter().enumerate().map(|(round, ran)| ran.samples[round]).collect();
        Ran { name: most.name, role: Role::Rival, note: most.note, residents: most.residents, samples }
    }

    fn is_by_cycles(self) -> bool {
        self.has_counters && self.result.unit == Unit::Cycles && self.result.threads == 1
    }

    fn cost(self, sample: &Sample) -> f64 {
        if self.is_by_cycles() { sample.cycles.unwrap_or(f64::NAN) } else { sample.ns }
    }

    fn notes(self, rival: &Ran) -> String {
        let mut note = String::new();
        push_note(&mut note, self.result.note);
        push_note(&mut note, rival.note);
        if !self.has_counters && self.result.unit == Unit::Cycles {
            push_note(&mut note, "no counters");
        }
        note
    }
}

/// Those in which nothing else took the processors away; all, if that leaves too few.
fn rounds(ours: &Ran, rival: &Ran) -> Vec<usize> {
    let calm = calm_rounds(ours, rival);
    let all = ours.samples.len();
    if is_enough(calm.len(), all) { calm } else { (0..all).collect() }
}

fn calm_rounds(ours: &Ran, rival: &Ran) -> Vec<usize> {
    let is_calm = |round: &usize| ours.samples[*round].is_calm() && rival.samples[*round].is_calm();
    (0..ours.samples.len()).filter(is_calm).collect()
}

fn disturbed(ours: &Ran, rival: &Ran) -> Option<String> {
    let (calm, all) = (calm_rounds(ours, rival).len(), ours.samples.len());
    (!is_enough(calm, all))
        .then(|| format!("disturbed: threads waited for a processor in {} of {all} rounds", all - calm))
}

fn is_enough(calm: usize, all: usize) -> bool {
    calm >= all.div_ceil(3)
}

fn not_comparable(ours: &Ran, rival: &Ran, hits: Hits) -> Option<String> {
    if let Some(why) = residents_differ(ours.residents, rival.residents) {
        return Some(why);
    }
    let share = |ran: &Ran| mean(ran.samples.iter().map(|sample| sample.hits));
    let is_full = |ran: &Ran| share(ran) >= HIT_SHARE_MIN;
    if hits == Hits::All && !(is_full(ours) && is_full(rival)) {
        let (ours, rival) = (100.0 * share(ours), 100.0 * share(rival));
        return Some(format!("not comparable: {ours:.1} % of ours were hits, {rival:.1} % of theirs"));
    }
    None
}

/// Where either does not tell, the rest of the row has to speak for itself.
fn residents_differ(ours: Option<usize>, rival: Option<usize>) -> Option<String> {
    let (ours, rival) = ours.zip(rival)?;
    let difference = (ours as f64 - rival as f64).abs();
    (difference > RESIDENTS_TOLERANCE * ours as f64)
        .then(|| format!("not comparable: {ours} resident in ours, {rival} in theirs"))
}

const RESIDENTS_TOLERANCE: f64 = 0.02;
const HIT_SHARE_MIN: f64 = 0.99;

/// A figure that is counted, not timed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// `None` where it could not be counted.
    pub(crate) value: Option<f64>,
    pub(crate) residents: Option<usize>,
    pub(crate) note: &'static str,
}

/// Rows of figures: one per goal, then one for each of the others.
pub(crate) fn figures(question: &'static Question, unit: &'static str, figures: &[Figure]) -> Vec<Row> {
    let named = |name: &str| figures.iter().find(|figure| figure.name == name);
    let mut rows = Vec::new();
    for goal in question.goals {
        let Some(ours) = named(goal.ours) else { continue };
        let rival = named(goal.rival);
        if !goal.rival.is_empty() && rival.is_none() {
            continue;
        }
        let mut row = figure_row(question.id, unit, ours, rival);
        row.stretch = goal.is_stretch;
        row.strict = question.is_strict || goal.is_strict;
        let (limit, figure) = match goal.limit {
            Limit::AtMost(limit) => (limit, row.ours),
            Limit::Ratio(limit) => (limit, row.ratio),
            _ => unreachable!("a figure is judged by itself or by a ratio"),
        };
        row.goal = Some(limit);
        row.goal_on = if goal.limit == Limit::AtMost(limit) { "value" } else { "ratio" };
        row.pass = figure.filter(|_| !row.is_unfit).map(|figure| figure <= limit + COUNT_TOLERANCE);
        rows.push(row);
    }
    let leading = question.goals.iter().find_map(|goal| named(goal.ours));
    for figure in figures.iter().filter(|figure| figure.role != Role::Ours) {
        let has_goal = question.goals.iter().any(|goal| goal.rival == figure.name);
        if let Some(ours) = leading.filter(|_| !has_goal) {
            rows.push(figure_row(question.id, unit, ours, Some(figure)));
        }
    }
    rows
}

fn figure_row(id: &'static str, unit: &'static str, ours: &Figure, rival: Option<&Figure>) -> Row {
    let ratio = ours.value.zip(rival.and_then(|rival| rival.value)).map(|(ours, rival)| ours / rival);
    let mut note = ours.note.to_owned();
    push_note(&mut note, rival.map_or("", |rival| rival.note));
    let unfit = rival.and_then(|rival| residents_differ(ours.residents, rival.residents));
    let is_unfit = unfit.is_some();
    push_note(&mut note, &unfit.unwrap_or_default());
    Row {
        id,
        ours_name: ours.name,
        ours: ours.value,
        rival: rival.and_then(|rival| rival.value),
        rival_name: rival.map_or("", |rival| rival.name),
        unit,
        ratio: ratio.filter(|ratio| ratio.is_finite()),
        ours_resident: ours.residents,
        rival_resident: rival.and_then(|rival| rival.residents),
        note,
        is_unfit,
        ..Row::default()
    }
}

fn push_note(note: &mut String, more: &str) {
    if !more.is_empty() && !note.is_empty() {
        note.push_str("; ");
    }
    note.push_str(more);
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

fn middle_half(values: Vec<f64>) -> f64 {
    quantile(values.clone(), 0.75) - quantile(values, 0.25)
}

/// Between two values, in proportion.
fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = part * last as f64;
    let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(name: &'static str, role: Role, residents: usize, ns: &[f64]) -> Ran {
        let samples = ns.iter().map(|&ns| Sample { ns, hits: 1.0, ..Sample::default() }).collect();
        Ran { name, role, note: "", residents: Some(residents), samples }
    }

    fn asked(id: &str) -> &'static Question {
        goals::QUESTIONS.iter().find(|question| question.id == id).unwrap()
    }

    fn raced(id: &'static str, ran: Vec<Ran>) -> Result {
        let gigahertz = vec![2.0; ran[0].samples.len()];
        let (unit, hits) = (Unit::Nanoseconds, Hits::All);
        Result { question: asked(id), variant: "", threads: 1, unit, hits, note: "", ran, gigahertz }
    }

    #[test]
    fn a_ratio_is_the_median_of_those_of_the_rounds() {
        let ours = ran("nanotier", Role::Ours, 100, &[1.0, 30.0, 2.0]);
        let rival = ran("quick_cache", Role::Rival, 100, &[10.0, 100.0, 10.0]);
        let rows = race(&raced("zipf-100k", vec![ours, rival]), false);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].ratio, rows[0].goal, rows[0].pass), (Some(0.2), Some(0.5), Some(true)));
    }

    #[test]
    fn a_rival_that_keeps_less_is_not_judged() {
        let ours = ran("nanotier", Role::Ours, 100, &[1.0]);
        let rival = ran("quick_cache", Role::Rival, 97, &[10.0]);
        let rows = race(&raced("zipf-100k", vec![ours, rival]), false);
        assert_eq!(rows[0].pass, None);
        assert!(rows[0].note.contains("not comparable: 100 resident in ours, 97 in theirs"), "{:?}", rows[0]);
    }

    #[test]
    fn rounds_in_which_a_processor_was_taken_away_do_not_count() {
        let mut ours = ran("nanotier", Role::Ours, 1, &[1.0, 1.0, 9.0]);
        let rival = ran("quick_cache", Role::Rival, 1, &[10.0, 10.0, 10.0]);
        ours.samples[2].waited = 0.5;
        let rows = race(&raced("zipf-100k", vec![ours, rival]), false);
        assert_eq!((rows[0].ratio, rows[0].spread, rows[0].pass), (Some(0.1), Some(0.0), Some(true)));
    }

    #[test]
    fn too_few_calm_rounds_are_not_judged() {
        let ours = ran("nanotier", Role::Ours, 1, &[1.0, 1.0]);
        let mut rival = ran("quick_cache", Role::Rival, 1, &[10.0, 10.0]);
        rival.samples.iter_mut().for_each(|sample| sample.waited = 0.5);
        let rows = race(&raced("zipf-100k", vec![ours, rival]), false);
        assert_eq!((rows[0].ratio, rows[0].pass), (Some(0.1), None));
        assert!(rows[0].note.contains("waited for a processor in 2 of 2 rounds"), "{:?}", rows[0]);
    }

    #[test]
    fn the_best_lender_is_chosen_in_every_round() {
        let ours = ran("nanotier", Role::Ours, 1, &[1.0, 1.0, 1.0]);
        let a = ran("a", Role::Rival, 1, &[4.0, 2.0, 4.0]);
        let b = ran("b", Role::Rival, 1, &[5.0, 5.0, 2.0]);
        let bound = ran("bound", Role::Bound, 1, &[0.1, 0.1, 0.1]);
        let rows = race(&raced("string-borrow-1t", vec![ours, a, b, bound]), false);
        assert_eq!((rows[0].rival_name, rows[0].ratio, rows[0].pass), ("a", Some(0.5), Some(true)));
        assert_eq!(rows.len(), 4, "the others are shown without a goal");
    }

    #[test]
    fn a_difference_is_in_cycles_whatever_the_unit() {
        let plain = ran("nanotier", Role::Ours, 1, &[5.0]);
        let counting = ran("nanotier with stats", Role::Ours, 1, &[6.5]);
        let rows = race(&raced("stats-cost", vec![plain, counting]), false);
        assert_eq!((rows[0].ours, rows[0].goal_on, rows[0].pass), (Some(3.0), "difference", Some(false)));
    }

    #[test]
    fn a_count_that_was_not_taken_is_not_judged() {
        let figure = |value| Figure { name: "nanotier", role: Role::Ours, value, residents: None, note: "" };
        let pass = |value| figures(asked("allocs-per-evict"), "allocations", &[figure(value)])[0].pass;
        assert_eq!((pass(None), pass(Some(0.0)), pass(Some(0.5))), (None, Some(true), Some(false)));
    }
}
