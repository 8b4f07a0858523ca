"""Pure, script-aware text functions: words, normalisation, sentences, keys, identification, files of rows."""
