------------------------------ MODULE CursorGap ------------------------------
(* The core of capture by polling: a position, gaps, and who may still fill
   them.  One request at a time; Pipeline.tla has the protocol as it is run.

   A writer takes the row lock of its key and the table's RowExclusiveLock,
   draws seqs (before it has an xid), inserts, and commits, aborts or prepares.
   It is visible before its locks are released.  A restart of the server ends
   open transactions; a prepared one comes back under another virtual
   transaction id (seen on PostgreSQL 15.20: 3/13 becomes -1/727).

   The relay reads in one snapshot what is above its position and in its gaps.
   A seq it did not see below the newest it saw becomes a gap.  Then it asks who
   holds the log, waits until those have gone, and drops the gap if a read that
   began after that does not return it.  Prune deletes what was passed.

   Each switch takes one clause of this away, for TLC to show what happens.   *)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS Tx, Key, PerTx,          \* Key: [Tx -> key]; PerTx: seqs of one transaction
          PollRule,   \* "one": gaps and tail in one snapshot, by seq | "split"
          GapRule,    \* a gap dies by "locks" | by "xmin" | by locks read
                      \*   "before" it was seen | in an "oldsnap"shot | by "timeout"
          Incarnation,\* TRUE: holders are asked anew after a restart
          CloneVxid,  \* TRUE: PREPARE keeps the virtual transaction id
                      \*   (PostgreSQL from 14.1)
          PruneRule,  \* "gaps": never prunes a gap | "nogaps"
          PersistRule,\* the cursor is written "after" publication | "early"
          KeyLock,    \* TRUE: the key is locked before its seq is drawn
          MaxRestart, MaxCrash, AllowPrepare

VARIABLES seq, owner, st, held, vis, corder, pruned,
          cpos, cgaps, mpos, mgaps, pend, out, pre, nrestart, ncrash
vars == <<seq, owner, st, held, vis, corder, pruned, cpos, cgaps, mpos, mgaps,
          pend, out, pre, nrestart, ncrash>>
db   == <<seq, owner, st, held, vis, corder>>

Range(s)  == { s[i] : i \in 1..Len(s) }
IdsOf(t)  == { i \in 1..seq : owner[i] = t }
Open      == {"locked", "drawn", "inserted", "prepared"}
Holders   == { <<t, held[t]>> : t \in { u \in Tx : held[u] # "-" } }
WithXid   == { <<t, "x">> : t \in { u \in Tx : st[u] \in {"inserted", "prepared"} } }
SortSet(S) == CHOOSE s \in [1..Cardinality(S) -> S] :
                 \A i, j \in 1..Cardinality(S) : i < j => s[i] < s[j]
Max(S)    == CHOOSE m \in S : \A x \in S : x <= m

Init == /\ seq = 0 /\ owner = <<>> /\ st = [t \in Tx |-> "idle"]
        /\ held = [t \in Tx |-> "-"] /\ vis = {} /\ corder = <<>> /\ pruned = {}
        /\ cpos = 0 /\ cgaps = {} /\ mpos = 0 /\ mgaps = [g \in {} |-> 0]
        /\ pend = <<>> /\ out = <<>> /\ pre = {} /\ nrestart = 0 /\ ncrash = 0

-----------------------------------------------------------------------------
(* writers *)
Begin(t) == /\ st[t] = "idle"
            /\ KeyLock => \A u \in Tx : (u # t /\ Key[u] = Key[t]) => st[u] \notin Open
            /\ st' = [st EXCEPT ![t] = "locked"] /\ held' = [held EXCEPT ![t] = "b"]
            /\ UNCHANGED <<seq, owner, vis, corder>>
Draw(t) ==  /\ st[t] \in {"locked", "inserted"} /\ Cardinality(IdsOf(t)) < PerTx
            /\ seq' = seq + 1 /\ owner' = Append(owner, t)
            /\ st' = [st EXCEPT ![t] = "drawn"] /\ UNCHANGED <<held, vis, corder>>
Insert(t) == /\ st[t] = "drawn"
             /\ st' = [st EXCEPT ![t] = "inserted"] /\ UNCHANGED <<seq, owner, held, vis, corder>>
End(t, from) ==
  \/ /\ st[t] \in from /\ st' = [st EXCEPT ![t] = "committed"]
     /\ vis' = vis \cup {t} /\ corder' = Append(corder, t) /\ UNCHANGED <<seq, owner, held>>
  \/ /\ st[t] \in (from \cup (IF from = {"prepared"} THEN {} ELSE {"drawn"}))
     /\ st' = [st EXCEPT ![t] = "aborted"] /\ UNCHANGED <<seq, owner, held, vis, corder>>
Prepare(t) == /\ AllowPrepare /\ st[t] = "inserted"
              /\ st' = [st EXCEPT ![t] = "prepared"]
              /\ held' = [held EXCEPT ![t] = IF CloneVxid THEN @ ELSE "p"]
              /\ UNCHANGED <<seq, owner, vis, corder>>
Release(t) == /\ st[t] \in {"committed", "aborted"} /\ held[t] # "-"
              /\ held' = [held EXCEPT ![t] = "-"] /\ UNCHANGED <<seq, owner, st, vis, corder>>
Writer == /\ \E t \in Tx : Begin(t) \/ Draw(t) \/ Insert(t) \/ End(t, {"inserted"})
                           \/ End(t, {"prepared"}) \/ Prepare(t) \/ Release(t)
          /\ UNCHANGED <<pruned, cpos, cgaps, mpos, mgaps, pend, out, pre, nrestart, ncrash>>

Restart == /\ nrestart < MaxRestart /\ nrestart' = nrestart + 1
           /\ st' = [t \in Tx |-> IF st[t] \in {"locked","drawn","inserted"} THEN "aborted" ELSE st[t]]
           /\ held' = [t \in Tx |-> IF st[t] = "prepared" THEN "r" ELSE "-"]
           /\ mgaps' = IF Incarnation THEN [g \in DOMAIN mgaps |-> [ph |-> "new", h |-> {}]] ELSE mgaps
           /\ UNCHANGED <<seq, owner, vis, corder, pruned, cpos, cgaps, mpos, pend, out, pre, ncrash>>
-----------------------------------------------------------------------------
(* relay *)
PreHolders == /\ GapRule = "before" /\ pre' = Holders /\ pre' # pre
              /\ UNCHANGED <<db, pruned, cpos, cgaps, mpos, mgaps, pend, out, nrestart, ncrash>>
(* Visible rows of the gaps and of the tail.  A gap that is not among them is
   dropped only if its holders had gone before this snapshot was taken (phase
   "final").                                                                  *)
Read == /\ pend = <<>>
        /\ LET L == IF PollRule = "one" THEN { g \in DOMAIN mgaps : owner[g] \in vis /\ g \notin pruned } ELSE {}
               D == IF PollRule = "one" /\ GapRule # "oldsnap"
                    THEN { g \in DOMAIN mgaps : mgaps[g].ph = "final" } \ L ELSE {}
               T == { i \in (mpos+1)..seq : owner[i] \in vis /\ i \notin pruned }
               M == IF T = {} THEN mpos ELSE Max(T)
               G == ((mpos+1)..M) \ T
               N == CASE GapRule = "xmin"    -> [ph |-> "wait", h |-> WithXid]
                      [] GapRule = "before"  -> [ph |-> "wait", h |-> pre]
                      [] GapRule = "timeout" -> [ph |-> "final", h |-> {}]
                      [] OTHER               -> [ph |-> "new",  h |-> {}]
               K == (DOMAIN mgaps) \ (L \cup D) IN
           /\ L \cup D \cup T # {}
           /\ mgaps' = [g \in K \cup G |-> IF g \in DOMAIN mgaps THEN mgaps[g] ELSE N]
           /\ mpos' = M /\ pend' = SortSet(L \cup T)
           /\ IF PersistRule = "early" THEN cpos' = mpos' /\ cgaps' = DOMAIN mgaps'
                                       ELSE UNCHANGED <<cpos, cgaps>>
        /\ UNCHANGED <<db, pruned, out, pre, nrestart, ncrash>>
Publish == /\ pend # <<>> /\ out' = Append(out, Head(pend)) /\ pend' = Tail(pend)
           /\ UNCHANGED <<db, pruned, cpos, cgaps, mpos, mgaps, pre, nrestart, ncrash>>
Persist == /\ pend = <<>> /\ <<cpos, cgaps>> # <<mpos, DOMAIN mgaps>>
           /\ cpos' = mpos /\ cgaps' = DOMAIN mgaps
           /\ UNCHANGED <<db, pruned, mpos, mgaps, pend, out, pre, nrestart, ncrash>>
See(g)   == /\ g \in DOMAIN mgaps /\ mgaps[g].ph = "new"
            /\ mgaps' = [mgaps EXCEPT ![g] = [ph |-> "wait", h |-> Holders]]
Gone(g)  == /\ g \in DOMAIN mgaps /\ mgaps[g].ph = "wait"
            /\ mgaps[g].h \cap (IF GapRule = "xmin" THEN WithXid ELSE Holders) = {}
            /\ mgaps' = [mgaps EXCEPT ![g] =
                  [ph |-> "final", h |-> IF GapRule = "oldsnap" THEN mgaps[g].h ELSE {}]]
(* "split": the gap is looked up by a statement of its own; "oldsnap": in a
   snapshot that was taken when the holders were read.                        *)
Final(g) == /\ PollRule = "split" \/ GapRule = "oldsnap"
            /\ g \in DOMAIN mgaps /\ mgaps[g].ph = "final" /\ pend = <<>>
            /\ mgaps' = [x \in (DOMAIN mgaps) \ {g} |-> mgaps[x]]
            /\ pend' = IF owner[g] \in vis /\ g \notin pruned
                          /\ ~(GapRule = "oldsnap" /\ \E p \in mgaps[g].h : p[1] = owner[g])
                       THEN <<g>> ELSE <<>>
Gap == \E g \in DOMAIN mgaps :
         \/ See(g)   /\ UNCHANGED <<db, pruned, cpos, cgaps, mpos, pend, out, pre, nrestart, ncrash>>
         \/ Gone(g)  /\ UNCHANGED <<db, pruned, cpos, cgaps, mpos, pend, out, pre, nrestart, ncrash>>
         \/ Final(g) /\ UNCHANGED <<db, pruned, cpos, cgaps, mpos, out, pre, nrestart, ncrash>>
Crash == /\ ncrash < MaxCrash /\ ncrash' = ncrash + 1
         /\ mpos' = cpos /\ pend' = <<>>
         /\ mgaps' = [g \in cgaps |-> [ph |-> "new", h |-> {}]]
         /\ UNCHANGED <<db, pruned, cpos, cgaps, out, pre, nrestart>>
Prune == /\ \E i \in 1..cpos : /\ owner[i] \in vis /\ i \notin pruned
                               /\ PruneRule = "gaps" => i \notin cgaps
                               /\ pruned' = pruned \cup {i}
         /\ UNCHANGED <<db, cpos, cgaps, mpos, mgaps, pend, out, pre, nrestart, ncrash>>

Relay == Read \/ Publish \/ Persist \/ Gap \/ PreHolders
Next  == Writer \/ Restart \/ Relay \/ Crash \/ Prune
Spec  == Init /\ [][Next]_vars
Fair  == Spec /\ WF_vars(Read) /\ WF_vars(Publish) /\ WF_vars(Persist) /\ WF_vars(Gap)
              /\ \A t \in Tx : WF_vars(Release(t) /\ UNCHANGED <<pruned, cpos, cgaps, mpos, mgaps, pend, out, pre, nrestart, ncrash>>)
                               /\ WF_vars((End(t, {"inserted"}) \/ End(t, {"prepared"}) \/ Insert(t))
                                    /\ UNCHANGED <<pruned, cpos, cgaps, mpos, mgaps, pend, out, pre, nrestart, ncrash>>)
-----------------------------------------------------------------------------
NoLoss == \A i \in 1..seq : owner[i] \in vis =>
   /\ (i <= mpos /\ i \notin DOMAIN mgaps /\ i \notin Range(pend)) => i \in Range(out)
   /\ (i <= cpos /\ i \notin cgaps) => i \in Range(out)
NoGhost   == \A i \in Range(out) : owner[i] \in vis
PruneSafe == pruned \subseteq Range(out)
First(i)  == CHOOSE n \in 1..Len(out) : out[n] = i /\ \A m \in 1..(n-1) : out[m] # i
CPos(t)   == CHOOSE n \in 1..Len(corder) : corder[n] = t
Before(i, j) == \/ owner[i] = owner[j] /\ i < j
                \/ owner[i] # owner[j] /\ CPos(owner[i]) < CPos(owner[j])
Order == \A j \in Range(out) : \A i \in 1..seq :
   (owner[i] \in vis /\ Key[owner[i]] = Key[owner[j]] /\ i # j /\ Before(i, j))
      => (i \in Range(out) /\ First(i) < First(j))
Delivered == <>[](\A i \in 1..seq : owner[i] \in vis => i \in Range(out))
Bound == Len(out) <= PerTx * Cardinality(Tx) + 3
=============================================================================
