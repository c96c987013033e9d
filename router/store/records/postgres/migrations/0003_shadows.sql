-- Answers of shadows, of which there are few, or none: whoever asks for the newest ones would read every record.
CREATE INDEX records_of_shadows ON records (at) WHERE surface = 'shadow';
