//! The long texts of the verbs for scripts and operators: `acquire`, `renew`, `release`, `wait`,
//! `steal`, `repair`, `rbac`.
//!
//! Owns prose only, as `help.rs` does for the others.

pub(crate) const ACQUIRE_ABOUT: &str = "Take a lock for the steps that follow";

pub(crate) const ACQUIRE_LONG: &str = "\
Take a lock for the steps that follow, until `tenure release`.

Waits until NAME is free, holds it for --ttl, writes what proves the hold to
FILE, prints the fencing token and returns. No process stands behind the
hold: it ends with `tenure release --hold FILE`, or by itself when the ttl has
run out.

NOTHING RENEWS THE HOLD BETWEEN STEPS. Choose a ttl longer than the longest
step, and call `tenure renew --hold FILE` between steps. What a shell can
start as one command is safer under `tenure run`, which renews, ends the
command when the lock is lost, and needs no file.

With --ttl never the hold ends only by `tenure release`, or `tenure steal
--now`: for a lock that stands for a state, such as maintenance, on local: and
on kube: with format=configmap. Nobody else's death ends it.

NAME is any text of 1 to 1,024 bytes without control characters. A duration is
a number with ms, s, m, h or d; a bare number is seconds.";

pub(crate) const ACQUIRE_AFTER: &str = "\
The hold file:
  FILE must not exist. It is written and synced before the lock is asked for,
  readable by you alone (0600), and completed when the lock is held. So
  whatever instant tenure is killed at, `tenure release --hold FILE` undoes
  what there is, and nothing outlives the ttl. When the lock was not taken
  (123 to 125, 130, 143) there is no FILE.
  It is one JSON object: lock, store, id, token, and what proves the hold.
  Whoever can read it can renew and release. Copy it to nowhere.

Exit codes:
  0      the lock is held; its token is on stdout
  123    the lock was stolen in the moment it was acquired
  124    the lock is busy (-n), or still was when --wait ended; -E replaces
         this code, and -E 0 says nothing of it on stderr
  125    tenure failed: bad usage, FILE exists or cannot be written, store
         not usable
  128+n  ended by signal n while waiting (130 INT, 143 TERM)

Environment:
  TENURE_HOLD     FILE when --hold is not given
  TENURE_STORE    the store when --store is not given

Examples:
  tenure acquire deploy --ttl 30m --hold .hold
  ./build.sh && tenure renew --hold .hold && ./deploy.sh
  tenure release --hold .hold
      Three steps of a pipeline under one lock.
  token=$(tenure acquire deploy --ttl 10m --hold .hold) || exit
      The token, for a resource that refuses smaller ones.
  tenure acquire -n db --ttl 1h --hold .hold || echo 'busy, or failed'
      Do not wait.";

pub(crate) const RENEW_ABOUT: &str = "Prolong a hold that acquire took";

pub(crate) const RENEW_LONG: &str = "\
Prolong the hold in FILE: its ttl counts anew from now.

The token stays the same. A hold whose ttl has run out is lost, even if nobody
has taken the lock since: what it guarded went on without it. The same is true
of a hold from before the machine was restarted.";

pub(crate) const RENEW_AFTER: &str = "\
Exit codes:
  0      the hold lives for its ttl from now
  123    the hold was lost: its ttl ran out, somebody else holds the lock, it
         was stolen, or the machine was restarted. Stop what it guarded.
  125    tenure failed: bad usage; FILE missing, damaged, of another user,
         store or cluster; store not usable. FILE is left as it is.

Environment:
  TENURE_HOLD     FILE when --hold is not given

Examples:
  tenure renew --hold .hold || exit 1
      Before a step, for as long as `acquire` said.
  tenure renew --hold .hold --ttl 2h
      Before a long step. It may also be shorter than before.";

pub(crate) const RELEASE_ABOUT: &str = "Give back a hold that acquire took";

pub(crate) const RELEASE_LONG: &str = "\
Give back the lock of the hold in FILE, and remove FILE.

The next in line gets the lock at once. What has become somebody else's lock is
never touched. An `acquire` that was killed before it was done is undone.";

pub(crate) const RELEASE_AFTER: &str = "\
Exit codes:
  0      the lock was given back, or the acquire that wrote FILE was killed
         before it was done and nothing is left of it
  123    the hold had been lost before: its ttl had run out, somebody else
         holds the lock, it was stolen, or the machine was restarted.
         Nothing of it is left.
  125    tenure failed: bad usage; FILE missing, damaged, of another user,
         store or cluster; its acquire still waits; store not usable

FILE is removed in every case but 125. With 125 nothing was changed.

Environment:
  TENURE_HOLD     FILE when --hold is not given

Examples:
  trap 'tenure release --hold .hold' EXIT
      However the script ends.
  tenure release --hold .hold --tag schema-42
      `tenure ls --where 'tags contains schema-42'` finds it from then on.
  [ ! -e .hold ] || tenure release --hold .hold
      A clean-up step that also runs when the lock was never taken.";

pub(crate) const WAIT_ABOUT: &str = "Wait until a lock is free, without taking it";

pub(crate) const WAIT_LONG: &str = "\
Wait until NAME is free, without taking it and without standing in line.

A lock without a record is free, and on kube: so is one in a namespace that does
not exist. A lock that goes from one to the next in line is not free in between.
When this returns somebody else may have taken it again: what must not run
beside the holder belongs under `tenure run`.";

pub(crate) const WAIT_AFTER: &str = "\
Exit codes:
  0      the lock is free, was never taken, or its hold has ended
  124    still held when --wait ended, or with -n; -E replaces this code
  125    tenure failed: bad usage, store not usable, record damaged
  128+n  ended by signal n while waiting (130 INT, 143 TERM)

Environment:
  TENURE_STORE    the store when --store is not given

Examples:
  tenure wait nightly-backup && poweroff
  tenure wait -n deploy || echo 'a deployment is going on'
  tenure wait -w 5m deploy";

pub(crate) const STEAL_ABOUT: &str = "Take a lock away from its holder";

pub(crate) const STEAL_LONG: &str = "\
Take a lock away from its holder and free it. The next in line gets it; tenure
itself does not.

Shows the hold, asks on a terminal (a script gives --yes), and acts on that hold
only: one that has changed since is left alone. On local: TEXT is kept with the
lock's last holds, for `tenure show`; the formats on kube: have no place for it.

A hold with a ttl, of `tenure acquire` or `run --at-least`, is freed when its
ttl has run out (--after-expiry, the default), or at once (--now): then a
holder that no longer runs is not told, and only the fencing token protects
what it still does.

On kube: a hold has expired when it was seen unchanged for its ttl and a
hundredth more; one that is renewed is left alone. With --now a `tenure run`
that holds it is told by the store at once and ends its command, within the
grace.

A hold of a running command on local: never ends by time, so --after-expiry is
refused. With --now the holder's process and the process group of its command
are killed (SIGKILL), and the lock is freed once they have ended; what cannot
be ended keeps the lock, and is named.";

pub(crate) const STEAL_AFTER: &str = "\
Exit codes:
  0      the hold is over, or there was none
  124    the hold was renewed since it was shown, or is not as --where says;
         nothing was done
  125    tenure failed, or was not confirmed: nothing was freed
  128+n  ended by signal n while waiting for the expiry (130 INT, 143 TERM)

Environment:
  TENURE_STORE    the store when --store is not given

Examples:
  tenure steal deploy --reason 'runner 7 is gone' --now
  tenure steal deploy --reason 'INC-1234' --yes
      Free it when its ttl has run out, without asking.
  tenure steal deploy --reason stuck --now --yes --where 'age > 6h'
      Only if it has been held for so long. `tenure ls --help` has all that
      can be asked.
  tenure show deploy
      Who had it, when it was stolen, and why.";

pub(crate) const REPAIR_ABOUT: &str = "Free locks whose records are damaged";

pub(crate) const REPAIR_LONG: &str = "\
List the records of the store that cannot be read, or the one of NAME, and free
them.

A lock with a damaged record counts as held, because somebody may hold it. This
says what can still be read of each record, unverified, and whether the process
it names still runs. It frees them after asking on a terminal, or with --yes.
Make sure first that nobody works under them.

Fencing tokens never go back: the store's floor is raised above every token ever
given. A healthy record is never touched, nor is one of a newer tenure.";

pub(crate) const REPAIR_AFTER: &str = "\
Exit codes:
  0      nothing is damaged, or everything was repaired
  125    something is damaged and was not confirmed, or could not be repaired

Environment:
  TENURE_STORE    the store when --store is not given

Examples:
  tenure repair
      What is damaged? Asks before it frees anything.
  tenure repair nightly-backup --yes";

pub(crate) const DOCTOR_ABOUT: &str = "Find out what could go wrong, and what to change";

pub(crate) const DOCTOR_LONG: &str = "\
Find out what could go wrong with a store, and what to change. Takes no lock and
writes nothing.

On local: it asks whether locks can be kept in the folder, and whether each
record can be read.

On kube: it asks whether the API server answers, whether the verbs of --for are
allowed, how long a request takes against what the ttl leaves for one, and how
far this machine's clock is from the server's; and of the locks NAME, or of all
that can be listed, whether an identity is used twice, whether programs beside
tenure write the object or use another duration, and whether the record can be
read. It takes a second and a half.

In any case it prints how far the rates of two machines' clocks may be apart.";

pub(crate) const DOCTOR_AFTER: &str = "\
Exit codes:
  0      nothing must be changed; what is marked `note` is good to know
  125    something must be changed, or the store does not answer

Environment:
  TENURE_STORE    the store when --store is not given

Examples:
  tenure doctor
      Can locks be kept on this machine?
  tenure doctor --store kube:jobs nightly
      Before `tenure run --store kube:jobs nightly` goes into production.
  tenure doctor --store kube:jobs --for run --for ls --output json | jq .findings

JSON: {\"store\",\"findings\":[{\"check\",\"lock\",\"state\":\"ok|note|bad\",\"what\",
\"change\",\"measured\"}],\"limits\":[{\"timing\",\"ttl_ms\",\"kubernetes_ppm\",
\"etcd_ppm\"}]}. `check` is server, objects, rights, latency, clock, identity,
record, writers, durations or store. Fields and checks are only ever added.";

pub(crate) const RBAC_ABOUT: &str = "Print the least Kubernetes rights for locks";

pub(crate) const RBAC_LONG: &str = "\
Print a Role and its RoleBinding, as YAML: the least that a service account
needs so that the verbs given with --for work on the locks NAME, in the format
and namespace of the store. Asks nobody; what it prints can be applied as it
is, beside what was printed for other locks.

Without NAME the rights are for all locks of the namespace, and a program with
several of them has one watch; bound to names it has one for each. `create` and
`list` cannot be bound to names; everything else is. In format=annotation the
object is named in any case, and a store without a namespace gets a ClusterRole.
In format=janus names of objects are hashes, so none is named.";

pub(crate) const RBAC_AFTER: &str = "\
Exit codes:
  0      printed
  125    the store is not in Kubernetes, or bad usage

Environment:
  TENURE_STORE    the store when --store is not given

Examples:
  tenure rbac --store kube:jobs --account runner nightly | kubectl apply -f -
      For `tenure run nightly` and nothing else.
  tenure rbac --store kube:jobs --for ls --for show --account viewer
      For looking at all locks.";
