"""How a data set is named on a command line."""

LOCATIONS = """\
DIR                     class folders DIR/<class>/**/*.JPEG as ImageNet comes, or DIR/*.tar
DIR/{000..127}.tar      WebDataset shards, also by a glob; .jpg, .png or .webp beside .cls or .json
https://…/{000..9}.tar  shards read as a stream; also pipe:COMMAND and compressed local ones
hf:OWNER/NAME[@REVISION][#SPLIT], hf:DIR    a Hugging Face data set, downloaded once or local
hf-stream:OWNER/NAME[@REVISION][#SPLIT]     the same read as a stream
(after an hf location: ?config=NAME&image=COLUMN&label=COLUMN where they cannot be told)"""
"""For help texts."""
