-- The probability with which an answer was drawn to be judged, and whether a gateway is to learn from the judgement.
ALTER TABLE feedback ADD COLUMN propensity double precision, ADD COLUMN waiting boolean;
CREATE INDEX feedback_waiting ON feedback (at) WHERE waiting;
