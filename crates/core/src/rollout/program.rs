//! What a strategy comes down to: a list of moves forward, and from any setting
//! the way back. In: a Rollout's spec. Out: settings in their order, with what
//! is waited for between them.

use super::spec::{Means, Rule, Size, Spec, Step, Strategy};
use super::state::{Holds, Setting};

/// One thing to do; the next one comes when it is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// Done when the cluster is so.
    Arrange(Setting),
    /// Done when it passed.
    Analyse(Vec<Rule>),
    /// Seconds; none: until someone promotes it.
    Pause(Option<i64>),
}

/// A move, and the step of the strategy it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub act: Move,
    pub step: usize,
}

/// All moves of a strategy.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub moves: Vec<Planned>,
    /// From this move on it is being promoted.
    pub promote: usize,
}

/// The program of a Rollout.
pub fn program(spec: &Spec) -> Program {
    let mut writer = Writer { means: spec.means(), ..Writer::default() };
    match &spec.strategy {
        Strategy::Canary(steps) => writer.canary(steps),
        Strategy::Rolling { batches, analysis } => writer.rolling(batches, analysis),
        Strategy::Recreate { before, after } => writer.recreate(before, after),
        Strategy::BlueGreen { preview_replicas, auto_promote, before, after, scale_down_delay, .. } => {
            writer.begin();
            writer.arrange(|setting| setting.second = Some(*preview_replicas));
            writer.analyse(before);
            if !auto_promote {
                writer.push(Move::Pause(None));
            }
            writer.step += 1;
            writer.promote = writer.moves.len();
            writer.arrange(|setting| setting.second = Some(Size::Percent(100)));
            writer.arrange(|setting| setting.weight = 100);
            writer.analyse(after);
            if *scale_down_delay > 0 {
                writer.push(Move::Pause(Some(*scale_down_delay)));
            }
            writer.hand_over();
        }
    }
    Program { promote: writer.promote, moves: writer.moves }
}

#[derive(Debug)]
struct Writer {
    means: Means,
    setting: Setting,
    /// Where it differs from the weight.
    scale: Option<u8>,
    step: usize,
    moves: Vec<Planned>,
    promote: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            means: Means::Alone,
            setting: Setting::REST,
            scale: None,
            step: 0,
            moves: Vec::new(),
            promote: 0,
        }
    }
}

impl Writer {
    fn push(&mut self, act: Move) {
        self.moves.push(Planned { act, step: self.step });
    }

    /// A changed setting; one that changes nothing is left out.
    fn arrange(&mut self, change: impl FnOnce(&mut Setting)) {
        let mut setting = self.setting.clone();
        change(&mut setting);
        if setting != self.setting {
            self.setting = setting.clone();
            self.push(Move::Arrange(setting));
        }
    }

    fn analyse(&mut self, rules: &[Rule]) {
        if !rules.is_empty() {
            self.push(Move::Analyse(rules.to_vec()));
        }
    }

    fn canary(&mut self, steps: &[Step]) {
        self.begin();
        for (index, step) in steps.iter().enumerate() {
            self.step = index;
            match step {
                Step::SetWeight(weight) => self.weigh(*weight),
                Step::SetScale(scale) => {
                    self.scale = Some(*scale);
                    let (weight, means) = (self.setting.weight, self.means);
                    if means == Means::Routes {
                        self.arrange(|setting| setting.second = Some(percent((*scale).max(weight.min(1)))));
                    }
                }
                Step::SetHeader(header) => self.reach(|setting| setting.header = Some(header.clone())),
                Step::SetMirror(mirror) => self.reach(|setting| setting.mirror = (*mirror).min(100)),
                Step::Analysis(rules) => self.analyse(rules),
                Step::Pause(seconds) => self.push(Move::Pause(*seconds)),
            }
        }
        self.step = steps.len();
        self.promote = self.moves.len();
        self.finish();
    }

    fn rolling(&mut self, batches: &[u8], analysis: &[Rule]) {
        self.begin();
        // The last batch is the promotion itself.
        for (index, batch) in batches.iter().enumerate().filter(|(_, batch)| **batch < 100) {
            self.step = index;
            self.weigh(*batch);
            self.analyse(analysis);
        }
        self.step = batches.len();
        self.promote = self.moves.len();
        self.finish();
    }

    fn recreate(&mut self, before: &[Rule], after: &[Rule]) {
        self.arrange(|setting| setting.share = 0);
        self.analyse(before);
        self.step = 1;
        self.promote = self.moves.len();
        self.arrange(|setting| (setting.target, setting.share) = (Holds::New, 100));
        self.analyse(after);
    }

    /// Where one object holds both versions, it gets the new one with nothing
    /// of it running yet; where Services tell them apart, they do so before
    /// there is a Pod to leak to.
    fn begin(&mut self) {
        match self.means {
            Means::Partition | Means::Field => self.arrange(|setting| setting.target = Holds::New),
            Means::Routes => self.arrange(|setting| setting.second = Some(NONE)),
            Means::Replicas | Means::Alone => {}
        }
    }

    /// Pods before requests on the way up, requests before Pods on the way down.
    fn weigh(&mut self, weight: u8) {
        let weight = weight.min(100);
        let scale = self.scale.unwrap_or(weight).max(weight.min(1));
        let grows = weight >= self.setting.weight;
        match self.means {
            Means::Replicas if grows => {
                self.arrange(|setting| (setting.second, setting.weight) = (size(weight), weight));
                self.arrange(|setting| setting.share = 100 - weight);
            }
            Means::Replicas => {
                self.arrange(|setting| setting.share = 100 - weight);
                self.arrange(|setting| (setting.second, setting.weight) = (size(weight), weight));
            }
            Means::Routes if grows => {
                self.arrange(|setting| setting.second = Some(percent(scale)));
                self.arrange(|setting| setting.weight = weight);
            }
            Means::Routes => {
                self.arrange(|setting| setting.weight = weight);
                self.arrange(|setting| setting.second = Some(percent(scale)));
            }
            // A Pod that was updated stays so until it is rolled back.
            Means::Partition => {
                let updated = weight.max(self.setting.updated);
                self.arrange(|setting| setting.updated = updated);
                self.arrange(|setting| setting.weight = weight);
            }
            Means::Field | Means::Alone => self.arrange(|setting| setting.weight = weight),
        }
    }

    /// Some requests reach the new version beside its weight: it needs a Pod.
    fn reach(&mut self, change: impl FnOnce(&mut Setting)) {
        if self.means == Means::Routes && self.setting.second == Some(NONE) {
            self.arrange(|setting| setting.second = Some(percent(1)));
        }
        if self.means == Means::Partition && self.setting.updated == 0 {
            self.arrange(|setting| setting.updated = 1);
        }
        self.arrange(change);
    }

    fn finish(&mut self) {
        match self.means {
            Means::Replicas => {
                self.arrange(|setting| (setting.target, setting.share) = (Holds::New, 100));
                self.arrange(|setting| (setting.second, setting.weight) = (None, 0));
            }
            Means::Routes => {
                self.arrange(|setting| setting.second = Some(Size::Percent(100)));
                self.arrange(|setting| {
                    (setting.weight, setting.header, setting.mirror) = (100, None, 0);
                });
                self.hand_over();
            }
            Means::Partition | Means::Field | Means::Alone => {
                self.arrange(|setting| setting.updated = 100);
                self.arrange(|setting| {
                    (setting.weight, setting.header, setting.mirror) = (100, None, 0);
                });
            }
        }
    }

    /// The target is rolled while the second workload serves; then requests
    /// come back and the second one goes.
    fn hand_over(&mut self) {
        self.step += 1;
        self.arrange(|setting| setting.target = Holds::New);
        self.arrange(|setting| setting.weight = 0);
        self.arrange(|setting| setting.second = None);
    }
}

/// A second workload without Pods.
const NONE: Size = Size::Count(0);

fn percent(percent: u8) -> Size {
    if percent == 0 { NONE } else { Size::Percent(percent.min(100)) }
}

/// None at all for nothing.
fn size(share: u8) -> Option<Size> {
    (share > 0).then(|| percent(share))
}

/// The next setting on the way back to the promoted version; none when it is
/// there.
pub fn back(means: Means, setting: &Setting) -> Option<Setting> {
    if *setting == Setting::REST {
        return None;
    }
    let rest = || Some(Setting::REST);
    let quiet = |setting: &Setting| Setting { weight: 0, header: None, mirror: 0, ..setting.clone() };
    match means {
        // What allows no overlap goes through zero.
        Means::Alone if setting.target == Holds::New && setting.share > 0 => {
            Some(Setting { share: 0, ..setting.clone() })
        }
        Means::Alone | Means::Field => rest(),
        Means::Partition if setting.weight > 0 && setting.updated < 100 => Some(quiet(setting)),
        // Services tell the versions apart until the Pods are rolled back.
        Means::Partition if setting.target == Holds::New && setting.updated > 0 => {
            Some(Setting { target: Holds::Stable, ..quiet(setting) })
        }
        Means::Partition => rest(),
        // The target takes over again before the one that serves goes.
        Means::Routes if setting.target == Holds::New && setting.weight > 0 => {
            Some(Setting { target: Holds::Stable, share: 100, ..setting.clone() })
        }
        Means::Replicas
            if setting.second.is_some() && (setting.target == Holds::New || setting.share == 0) =>
        {
            Some(Setting { target: Holds::Stable, share: 100, ..setting.clone() })
        }
        Means::Routes if *setting != quiet(setting) => Some(quiet(setting)),
        Means::Routes
            if setting.target == Holds::Stable && setting.second.is_some_and(|size| size != NONE) =>
        {
            Some(Setting { second: Some(NONE), share: 100, ..quiet(setting) })
        }
        Means::Routes | Means::Replicas => rest(),
    }
}

/// Every setting that comes next for a Rollout of this spec: those of its program,
/// and the one on the way back.
pub fn next(spec: &Spec, setting: &Setting) -> Vec<Setting> {
    let moves = program(spec).moves.into_iter();
    let forward = moves.filter_map(|planned| match planned.act {
        Move::Arrange(setting) => Some(setting),
        Move::Analyse(_) | Move::Pause(_) => None,
    });
    forward.chain(back(spec.means(), setting)).chain([Setting::REST]).collect()
}

/// How many Pods a workload is to have, both versions together where one makes
/// room for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    pub replicas: i64,
    /// Git says so; else whoever scales the target.
    pub declared: bool,
}

impl Whole {
    /// Replicas that the target has of a share. Where somebody else sets them, it
    /// makes room for nothing: it has all of them, or none.
    pub fn kept(self, share: u8) -> i64 {
        if self.declared || share == 0 { kept(self.replicas, share) } else { self.replicas }
    }
}

/// Pods of the new version for which there has to be room before a setting takes
/// the place of another: those that are more than now, and all before the old
/// version makes room for them.
pub fn grows(means: Means, whole: Whole, from: &Setting, to: &Setting) -> i64 {
    if means == Means::Alone {
        return if to.share == 0 && from.share > 0 { whole.replicas } else { 0 };
    }
    let pods = |setting: &Setting| {
        let second = setting.second.map_or(0, |size| count(whole.replicas, size));
        whole.kept(setting.share).saturating_add(second)
    };
    pods(to).saturating_sub(pods(from)).max(0)
}

/// Replicas of a size; at least one of anything.
pub fn count(replicas: i64, size: Size) -> i64 {
    match size {
        Size::Count(count) => i64::from(count),
        Size::Percent(0) => 0,
        Size::Percent(percent) => {
            let percent = i64::from(percent.min(100));
            replicas
                .max(0)
                .saturating_mul(percent)
                .saturating_add(99)
                .saturating_div(100)
                .max(i64::from(replicas > 0))
        }
    }
}

/// Pods of a partitioned target that have the new version; less than all leaves
/// one of the old.
pub fn updated(replicas: i64, share: u8) -> i64 {
    let pods = count(replicas, Size::Percent(share));
    if share >= 100 { pods } else { pods.min(replicas - 1).max(0) }
}

/// Replicas that the target keeps of a share, so that both versions together
/// are as many as before; at least one of anything.
pub fn kept(replicas: i64, share: u8) -> i64 {
    match share {
        0 => 0,
        100.. => replicas,
        share => (replicas - count(replicas, Size::Percent(100 - share))).max(i64::from(replicas > 0)),
    }
}
