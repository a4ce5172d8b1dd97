------------------------------ MODULE Pipeline ------------------------------
(* Capture by polling as it is run: poll k asks who holds the log (L_k) and
   reads (R_k) in one transaction.  Over CursorGap.tla it has LIMIT and the range
   a read covers, one set of holders per generation of gaps, gaps that are left
   out of a read, a window that settles out of order (in order per key), and
   cursor writes that overlap reads.

   Nothing of a poll happens at one moment (Moments).  The server lists locks
   backend by backend: whoever holds one all the while is in the list, and
   whoever is not had ended, or had not begun, at some time meanwhile.  Then the
   read takes its snapshot; and while it runs it looks at the sequence, where
   seqs stand that were drawn, and even committed, behind that snapshot.

   A poll that a restart of the server cuts is thrown away; a read that meets a
   new incarnation makes the relay reload position and gaps.  out has first
   publications only, the later ones are duplicates.                          *)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS Tx, Key, Per,   \* Key: [Tx -> key]; Per: [Tx -> max events]
          Filt,           \* transactions whose events the subscription's filter excludes
          FilterRule,     \* "row": they are read, and settled at once | "where": no read returns them
          Limit, WinMax,
          Moments,        \* "one": a list of locks is one step, a read another
                          \* | "apart": as the server does it | "lossy": the list misses who is not
                          \* where it begins
          Snapshots,      \* "two": READ COMMITTED, R_k sees newer than L_k | "one": snapshot older than L_k
          GenRule,        \* "next": A = L_(k+1) | "same": A = L_k for the gaps of R_k
          DropRule,       \* "full" | "early": A = {} drops at R_(k+1) | "uncovered" | "leftout": a read that left the gap out may drop it
          Leave,          \* "off" | "on" | "noA" | "noB" | "locks" (c by locks) | "noC"
          Ahead,          \* "off" | "on": a read that covers all may go on where the sequence
                          \* stands: what it passes is a gap | "nogap" | "noask": not asked for
                          \* | "cut": also one that LIMIT cut | "noback": see back
          Remaining,      \* "last": holders at the last covering read that asked for the gap
                          \* | "now": A \cap L_j  (L_j of the read that leaves it out)
          WriteRule,      \* "full" | "nolate" (unsettled late rows forgotten) | "readpos" | "nogaps" | "off"
          Reload,         \* "ask": gaps come back unasked | "empty": with an empty holder set
          Notice,         \* a new incarnation is noticed
          MaxRestart, MaxCrash, AllowPrepare, DoPrune

VARIABLES seq, owner, st, held, vis, corder,           \* database: writers
          pruned, cpos, cgaps,                         \* database: log, cursor
          mpos, apos, mg, win, out, ph, lk, skip, snap, mid, wreq, stale, nrestart, ncrash
db   == <<seq, owner, st, held, vis, corder>>
pipe == <<ph, lk, skip, snap, mid>>
rel  == <<mpos, apos, mg, win, out, pipe, wreq, stale>>
vars == <<db, pruned, cpos, cgaps, rel, nrestart, ncrash>>

Range(s)  == { s[i] : i \in 1..Len(s) }
IdsOf(t)  == { i \in 1..seq : owner[i] = t }
NoXid     == {"locked", "drawn"}
InProg    == {"inserted", "drawx", "prepared"}           \* in progress, with an xid
Open      == NoXid \cup InProg
Max(S)    == CHOOSE m \in S : \A x \in S : x <= m
Min(S)    == CHOOSE m \in S : \A x \in S : x >= m
SortSet(S) == CHOOSE s \in [1..Cardinality(S) -> S] :
                 \A i, j \in 1..Cardinality(S) : i < j => s[i] < s[j]
Smallest(S, n) == { i \in S : Cardinality({ j \in S : j < i }) < n }

(* pg_locks: <<transaction, virtual transaction id, has it an xid>> *)
LocksOf(T) == { <<t, held[t], st[t] \notin NoXid>> : t \in { u \in T : held[u] # "-" } }
Locks     == LocksOf(Tx)
AtWork    == { t \in Tx : st[t] \in InProg }
Ids(S)    == { <<h[1], h[2]>> : h \in S }
NewGap    == [ph |-> "new", A |-> {}, rem |-> {}, conf |-> FALSE]
Loaded    == IF Reload = "ask" THEN NewGap ELSE [NewGap EXCEPT !.ph = "asked"]

Init == /\ seq = 0 /\ owner = <<>> /\ st = [t \in Tx |-> "idle"]
        /\ held = [t \in Tx |-> "-"] /\ vis = {} /\ corder = <<>> /\ pruned = {}
        /\ cpos = 0 /\ cgaps = {} /\ mpos = 0 /\ apos = 0 /\ mg = [g \in {} |-> NewGap]
        /\ win = <<>> /\ out = <<>> /\ ph = "idle" /\ lk = {} /\ skip = {} /\ snap = {} /\ mid = {}
        /\ wreq = <<>> /\ stale = FALSE /\ nrestart = 0 /\ ncrash = 0
-----------------------------------------------------------------------------
(* Writers: lock the key and the table, draw a seq (no xid yet), insert, end.
   Visible before the locks are released; the key is free once visible.      *)
Begin(t) == /\ st[t] = "idle"
            /\ \A u \in Tx : (u # t /\ Key[u] = Key[t]) => st[u] \notin Open
            /\ st' = [st EXCEPT ![t] = "locked"] /\ held' = [held EXCEPT ![t] = "b"]
            /\ UNCHANGED <<seq, owner, vis, corder>>
Draw(t)  == /\ st[t] \in {"locked", "inserted"} /\ Cardinality(IdsOf(t)) < Per[t]
            /\ seq' = seq + 1 /\ owner' = Append(owner, t)
            /\ st' = [st EXCEPT ![t] = IF @ = "locked" THEN "drawn" ELSE "drawx"]
            /\ UNCHANGED <<held, vis, corder>>
Insert(t) == /\ st[t] \in {"drawn", "drawx"}
             /\ st' = [st EXCEPT ![t] = "inserted"] /\ UNCHANGED <<seq, owner, held, vis, corder>>
Commit(t) == /\ st[t] \in {"inserted", "prepared"}
             /\ st' = [st EXCEPT ![t] = "committed"] /\ vis' = vis \cup {t}
             /\ corder' = Append(corder, t) /\ UNCHANGED <<seq, owner, held>>
Abort(t)  == /\ st[t] \in {"drawn", "inserted", "drawx", "prepared"}
             /\ st' = [st EXCEPT ![t] = "aborted"] /\ UNCHANGED <<seq, owner, held, vis, corder>>
Prep(t)   == /\ AllowPrepare /\ st[t] = "inserted"
             /\ st' = [st EXCEPT ![t] = "prepared"] /\ UNCHANGED <<seq, owner, held, vis, corder>>
Release(t) == /\ st[t] \in {"committed", "aborted"} /\ held[t] # "-"
              /\ held' = [held EXCEPT ![t] = "-"] /\ UNCHANGED <<seq, owner, st, vis, corder>>
Writer == /\ \E t \in Tx : Begin(t) \/ Draw(t) \/ Insert(t) \/ Commit(t) \/ Abort(t) \/ Prep(t) \/ Release(t)
          /\ UNCHANGED <<pruned, cpos, cgaps, rel, nrestart, ncrash>>

Idle == ph' = "idle" /\ lk' = {} /\ skip' = {} /\ snap' = {} /\ mid' = {}
(* Ends open transactions; a prepared one comes back under another virtual
   transaction id.  Cuts the poll and the cursor write that are under way.    *)
Restart == /\ nrestart < MaxRestart /\ nrestart' = nrestart + 1
           /\ st' = [t \in Tx |-> IF st[t] \in Open \ {"prepared"} THEN "aborted" ELSE st[t]]
           /\ held' = [t \in Tx |-> IF st[t] = "prepared" THEN "r" ELSE "-"]
           /\ stale' = TRUE /\ wreq' = <<>> /\ Idle
           /\ UNCHANGED <<seq, owner, vis, corder, pruned, cpos, cgaps, mpos, apos, mg, win, out, ncrash>>
-----------------------------------------------------------------------------
(* The relay, one poll.  What to leave out is chosen when it is sent.         *)
Elig == IF Leave = "off" THEN {}
        ELSE { g \in DOMAIN mg : /\ mg[g].ph = "asked"
                                 /\ Leave # "noA" => mg[g].conf
                                 /\ Leave # "noB" => mg[g].rem # {} }
Room == Len(win) + Limit <= WinMax
Snap == /\ Snapshots = "one" /\ ph = "idle" /\ Room /\ DOMAIN mg # {}
        /\ ph' = "snap" /\ snap' = vis
        /\ UNCHANGED <<db, pruned, cpos, cgaps, mpos, apos, mg, win, out, lk, skip, mid, wreq, stale, nrestart, ncrash>>
(* The backends whose locks are listed first (mid); those of the others are
   listed at the end, as all transaction ids are.                             *)
First_ == IF Moments = "one" THEN {Tx} ELSE SUBSET Tx
ReadLocks == /\ ph \in (IF Snapshots = "one" THEN {"snap"} ELSE {"idle", "again"}) /\ Room
             /\ DOMAIN mg # {} \/ GenRule = "same"
             /\ skip' \in (IF ph = "again" THEN {{}} ELSE SUBSET Elig)
             /\ \E T \in First_ : /\ lk' = LocksOf(T)
                                 /\ ph' = (IF T = Tx THEN "locks" ELSE "listing")
                                 /\ mid' = (IF T = Tx THEN {} ELSE T)
             /\ UNCHANGED <<db, pruned, cpos, cgaps, mpos, apos, mg, win, out, snap, wreq, stale, nrestart, ncrash>>
Listed    == /\ ph = "listing" /\ ph' = "locks" /\ mid' = {}
             /\ lk' = { <<h[1], h[2], held[h[1]] = h[2] /\ st[h[1]] \notin NoXid>> : h \in lk }
                       \cup (IF Moments = "lossy" THEN {} ELSE LocksOf(Tx \ mid))
             /\ UNCHANGED <<db, pruned, cpos, cgaps, mpos, apos, mg, win, out, skip, snap, wreq, stale, nrestart, ncrash>>
(* The read begins: what it sees, and who is at work then (mid).  It goes on in
   Read.                                                                      *)
Begun     == \/ ph = "locks"
             \/ ph = "idle" /\ Room /\ DOMAIN mg = {} /\ GenRule # "same"
ReadBegins == /\ Moments # "one" /\ Begun /\ ph' = "reading" /\ mid' = AtWork
              /\ snap' = (IF Snapshots = "one" /\ ph = "locks" THEN snap ELSE vis)
              /\ UNCHANGED <<db, pruned, cpos, cgaps, mpos, apos, mg, win, out, lk, skip, wreq, stale, nrestart, ncrash>>
InSnapshot == IF Moments = "one" THEN AtWork ELSE mid

LoadCursor == mpos' = cpos /\ apos' = cpos /\ mg' = [g \in cgaps |-> Loaded] /\ win' = <<>>

(* May this read stand, although it left g out? *)
Rem(g) == IF Remaining = "now" THEN { h \in lk : <<h[1], h[2]>> \in mg[g].A } ELSE mg[g].rem
Stands(g) == /\ Leave # "noB" => Rem(g) # {}
             /\ CASE Leave = "noC"   -> TRUE
                  [] Leave = "locks" -> Ids(Rem(g)) \subseteq Ids(lk)
                  [] OTHER           -> \A h \in Rem(g) : h[3] /\ h[1] \in InSnapshot
Result ==
  LET S    == IF Moments # "one" \/ (Snapshots = "one" /\ ph = "locks") THEN snap ELSE vis
      \* all that is ahead is asked for as what it is, the tail
      whole == \E g \in DOMAIN mg : g > mpos /\ \A s \in skip : s <= mpos
      from == IF whole /\ Ahead # "noask" THEN mpos ELSE apos
      C    == { i \in 1..seq : /\ owner[i] \in S /\ i \notin pruned
                               /\ \/ i > from
                                  \/ i \in DOMAIN mg /\ i \notin skip /\ ~(whole /\ i > mpos)
                               /\ FilterRule = "where" => owner[i] \notin Filt }
      rows == Smallest(C, Limit)
      cut  == Cardinality(C) >= Limit
      cov(g) == (cut => g <= Max(rows)) \/ DropRule = "uncovered"
      npos == IF rows = {} THEN mpos ELSE IF Max(rows) > mpos THEN Max(rows) ELSE mpos
      \* then rows out of it make the gaps anew
      back == Ahead # "noback" /\ whole /\ \E i \in rows : i > mpos /\ i <= apos
      old  == IF back THEN { g \in DOMAIN mg : g <= mpos } ELSE DOMAIN mg
      base == IF back THEN mpos ELSE apos
      last == IF npos > base THEN npos ELSE base
      here(g) == { h \in lk : <<h[1], h[2]>> \in mg[g].A }
      dead == { g \in old : /\ g \notin rows /\ cov(g)
                            /\ g \notin skip \/ DropRule = "leftout"
                            /\ \/ mg[g].ph = "asked" /\ here(g) = {}
                               \/ mg[g].ph = "new" /\ DropRule = "early" /\ lk = {} }
      upd(g) == IF mg[g].ph = "new"
                THEN [ph |-> "asked", A |-> Ids(lk), rem |-> lk, conf |-> cov(g)]
                ELSE LET a == [mg[g] EXCEPT !.A = Ids(here(g))] IN
                     IF g \notin skip /\ cov(g) THEN [a EXCEPT !.rem = here(g), !.conf = TRUE] ELSE a
      first == IF GenRule = "same" THEN [ph |-> "asked", A |-> Ids(lk), rem |-> lk, conf |-> FALSE] ELSE NewGap
      keep == old \ (rows \cup dead)
      add  == { i \in rows : owner[i] \notin Filt }     \* a filtered row is settled on reading
  IN /\ mpos' = npos
     /\ apos' \in {last} \cup (IF Ahead = "off" \/ (cut /\ Ahead # "cut") THEN {} ELSE {seq})
     /\ LET new == ((base + 1)..(IF Ahead = "nogap" THEN last ELSE apos')) \ rows IN
        mg' = [g \in keep \cup new |-> IF g \in keep THEN upd(g) ELSE first]
     /\ win' = win \o [n \in 1..Cardinality(add) |->
                         [s |-> SortSet(add)[n], late |-> SortSet(add)[n] <= mpos]]
Read == /\ IF Moments = "one" THEN Begun ELSE ph = "reading"
        /\ IF stale /\ Notice THEN LoadCursor /\ Idle
           ELSE IF \E g \in skip : ~Stands(g)                \* thrown away, repeated with the gaps
                THEN UNCHANGED <<mpos, apos, mg, win>> /\ ph' = "again" /\ lk' = {} /\ skip' = {} /\ snap' = {} /\ mid' = {}
           ELSE Result /\ Idle
        /\ stale' = (IF Notice THEN FALSE ELSE stale)
        /\ UNCHANGED <<db, pruned, cpos, cgaps, out, wreq, nrestart, ncrash>>

(* A lane per key, in the order of reading; lanes settle in any order. *)
Settle == /\ \E n \in 1..Len(win) :
               /\ \A m \in 1..(n-1) : Key[owner[win[m].s]] # Key[owner[win[n].s]]
               /\ win' = [m \in 1..(Len(win)-1) |-> IF m < n THEN win[m] ELSE win[m+1]]
               /\ out' = IF win[n].s \in Range(out) THEN out ELSE Append(out, win[n].s)
          /\ UNCHANGED <<db, pruned, cpos, cgaps, mpos, apos, mg, pipe, wreq, stale, nrestart, ncrash>>

Tail_  == { w.s : w \in { x \in Range(win) : ~x.late } }
Late   == { w.s : w \in { x \in Range(win) : x.late } }
WPos   == IF WriteRule = "readpos" \/ Tail_ = {} THEN mpos ELSE Min(Tail_) - 1
WGaps  == { g \in (IF WriteRule = "nogaps" THEN {} ELSE DOMAIN mg)
                  \cup (IF WriteRule = "nolate" THEN {} ELSE Late) : g <= WPos }
Write  == /\ wreq = <<>> /\ WriteRule # "off" /\ <<WPos, WGaps>> # <<cpos, cgaps>> /\ wreq' = <<WPos, WGaps>>
          /\ UNCHANGED <<db, pruned, cpos, cgaps, mpos, apos, mg, win, out, pipe, stale, nrestart, ncrash>>
Written == /\ wreq # <<>> /\ cpos' = wreq[1] /\ cgaps' = wreq[2] /\ wreq' = <<>>
           /\ UNCHANGED <<db, pruned, mpos, apos, mg, win, out, pipe, stale, nrestart, ncrash>>
(* Another relay takes over with a new fence: a write on its way is refused. *)
Crash == /\ ncrash < MaxCrash /\ ncrash' = ncrash + 1 /\ LoadCursor /\ Idle /\ wreq' = <<>> /\ stale' = FALSE
         /\ UNCHANGED <<db, pruned, cpos, cgaps, out, nrestart>>
Prune == /\ DoPrune
         /\ LET P == { i \in 1..cpos : owner[i] \in vis /\ i \notin cgaps } IN
            ~(P \subseteq pruned) /\ pruned' = pruned \cup P
         /\ UNCHANGED <<db, cpos, cgaps, rel, nrestart, ncrash>>

Relay == Snap \/ ReadLocks \/ Listed \/ ReadBegins \/ Read \/ Settle \/ Write \/ Written
Next  == Writer \/ Restart \/ Relay \/ Crash \/ Prune
Spec  == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
Wanted(i) == owner[i] \in vis /\ owner[i] \notin Filt
NoLoss == \A i \in 1..seq : Wanted(i) =>
   /\ (i <= apos /\ i \notin DOMAIN mg /\ i \notin Tail_ \cup Late) => i \in Range(out)
   /\ (i <= cpos /\ i \notin cgaps) => i \in Range(out)
NoGhost   == \A i \in Range(out) : owner[i] \in vis
PruneSafe == \A i \in pruned : Wanted(i) => i \in Range(out)
First(i)  == CHOOSE n \in 1..Len(out) : out[n] = i
CPos(t)   == CHOOSE n \in 1..Len(corder) : corder[n] = t
Before(i, j) == \/ owner[i] = owner[j] /\ i < j
                \/ owner[i] # owner[j] /\ CPos(owner[i]) < CPos(owner[j])
Order == \A j \in Range(out) : \A i \in 1..seq :
   (Wanted(i) /\ Key[owner[i]] = Key[owner[j]] /\ i # j /\ Before(i, j))
      => (i \in Range(out) /\ First(i) < First(j))
(* A gap that is left out for ever would leak. *)
Fair      == /\ Spec /\ WF_vars(Snap \/ ReadLocks) /\ WF_vars(Listed) /\ WF_vars(ReadBegins) /\ WF_vars(Read) /\ WF_vars(Settle) /\ WF_vars(Write) /\ WF_vars(Written)
             /\ \A t \in Tx : WF_vars((Release(t) \/ Commit(t) \/ Abort(t) \/ Insert(t) \/ (st[t] = "locked" /\ Draw(t))) /\ UNCHANGED <<pruned, cpos, cgaps, rel, nrestart, ncrash>>)
Delivered == <>[](\A i \in 1..seq : Wanted(i) => i \in Range(out))
GapsDie   == <>[](DOMAIN mg = {})
(* … and what the cursor never passes is never pruned. *)
Passed    == <>[](\A i \in 1..seq : owner[i] \in vis => i <= cpos /\ i \notin cgaps)
=============================================================================
