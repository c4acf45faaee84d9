#!/bin/bash
# Sixteen shards of a folder: sbatch --export=ALL,PHOTOS=/data/photos,ENGINE=...,OUT=/data/sr slurm-array.sh
# What a lost node left undone is done by the same command again; the size of the array may change.
#SBATCH --job-name=defian-run
#SBATCH --array=0-15
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
# with an engine: #SBATCH --gres=gpu:1
set -euo pipefail
exec defian-run "$PHOTOS" --engine "$ENGINE" --out "$OUT" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
